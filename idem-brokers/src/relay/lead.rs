//! The lead: of all the relays on one ledger, one publishes.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{Idem, ledger::LedgerError, notes::NoteLease};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The name of the lease. There is one outbox on a ledger, and so one lead.
const NAME: &str = "outbox-relay";

/// One relay's contention for the lead.
pub(super) struct Lead {
    lease: NoteLease,
    ttl: Duration,
    term: Term,
    /// When the lease is looked at next.
    look_at: Instant,
    leads: bool,
}

/// The time for which no other relay can have taken the lead. A relay that was stalled, or cannot
/// reach the ledger, sees it end without being told.
#[derive(Debug, Clone)]
pub(super) struct Term(Arc<Mutex<Instant>>);

impl Term {
    pub(super) fn lasts(&self) -> bool {
        Instant::now() < *self.0.lock()
    }

    fn end_at(&self, end: Instant) {
        *self.0.lock() = end;
    }
}

impl Lead {
    pub(super) fn new(idem: &Idem, ttl: Duration) -> Self {
        let now = Instant::now();
        Self {
            lease: idem.note_lease(NAME, ttl),
            ttl,
            term: Term(Arc::new(Mutex::new(now))),
            look_at: now,
            leads: false,
        }
    }

    pub(super) fn term(&self) -> Term {
        self.term.clone()
    }

    /// Returns when to call [`hold`](Self::hold) next: twice as often as the lease is written, so
    /// that one failure does not end the term.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }

    /// Takes or renews the lead when that is due, and returns whether this relay leads.
    pub(super) async fn hold(&mut self) -> Result<bool, LedgerError> {
        let asked = Instant::now();
        if asked < self.look_at {
            return Ok(self.term.lasts());
        }
        self.look_at = asked + self.ttl / 6;
        let leads = self.lease.hold().await?;
        // The lease was written a third of its time before this call, or later.
        self.term.end_at(if leads {
            asked + self.ttl * 2 / 3
        } else {
            asked
        });
        if leads != self.leads {
            let now = if leads { "leads" } else { "stands by" };
            tracing::info!("this relay {now}");
            self.leads = leads;
        }
        Ok(leads)
    }

    /// Renews the lead until `work` ends, and returns its output.
    pub(super) async fn hold_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let done = CancellationToken::new();
        let work = async {
            let output = work.await;
            done.cancel();
            output
        };
        let renewals = async {
            let due = |lead: &Self| done.run_until_cancelled(sleep_until(lead.look_at));
            while due(self).await.is_some() {
                if let Err(error) = self.hold().await {
                    tracing::warn!(
                        error = format_args!("{error:#}"),
                        "the lead of the relays cannot be renewed; trying again"
                    );
                }
            }
        };
        tokio::join!(work, renewals).0
    }

    /// Gives the lead up, so that another relay takes it at once.
    pub(super) async fn release(&mut self) {
        self.term.end_at(Instant::now());
        self.leads = false;
        if let Err(error) = self.lease.release().await {
            tracing::warn!(
                error = format_args!("{error:#}"),
                "the lead of the relays was not released; it lapses"
            );
        }
    }

    /// Gives the lead up, and leaves the others the time to take it.
    pub(super) async fn stand_aside(&mut self) {
        self.release().await;
        self.look_at = Instant::now() + self.ttl / 3;
    }
}

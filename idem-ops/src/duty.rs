//! Work that one replica does for all that share a ledger.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use idem_runtime::Idem;
use idem_runtime::clock::Clock;
use idem_runtime::ledger::LedgerError;
use idem_runtime::notes::{ExpectedNote, NoteLease};
use tokio::sync::Mutex;

/// The time after which another replica takes over from one that is silent.
const TTL: Duration = Duration::from_secs(30);

/// A lease in the notes that the tasks of one piece of work share.
pub(crate) struct Duty {
    lease: Mutex<NoteLease>,
    clock: Arc<dyn Clock>,
}

impl Duty {
    pub(crate) fn new(idem: &Idem, name: &str) -> Self {
        Self {
            lease: Mutex::new(idem.note_lease(name, TTL)),
            clock: idem.clock(),
        }
    }

    /// Takes or renews the duty. Returns the guard of what is written while it lasts, or `None` if
    /// another replica has it.
    pub(crate) async fn hold(&self) -> Result<Option<ExpectedNote>, LedgerError> {
        let mut lease = self.lease.lock().await;
        Ok(lease.hold().await?.then(|| lease.guard()))
    }

    /// Does the work, and renews the duty as long as it goes on.
    pub(crate) async fn during<F: Future>(&self, work: F) -> F::Output {
        let renewals = async {
            loop {
                self.clock.sleep(TTL / 3).await;
                if let Err(error) = self.hold().await {
                    tracing::debug!(
                        error = format_args!("{error:#}"),
                        "a lease in the notes could not be renewed"
                    );
                }
            }
        };
        match select(pin!(work), pin!(renewals)).await {
            Either::Left((output, _)) => output,
            Either::Right((never, _)) => never,
        }
    }

    /// Gives the duty up, so that another replica takes over at once.
    pub(crate) async fn release(&self) {
        if let Err(error) = self.lease.lock().await.release().await {
            tracing::debug!(
                error = format_args!("{error:#}"),
                "a lease in the notes could not be released; it lapses"
            );
        }
    }
}

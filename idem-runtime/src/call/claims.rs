//! The claims whose bodies run in this process, on a ledger with leases.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use foldhash::fast::RandomState;
use futures_util::task::AtomicWaker;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock::{after, until};
use crate::ledger::Leases;
use crate::protocol::RecordId;

/// The claims whose bodies run in this process, on a ledger with leases. A clone is another handle
/// to them.
///
/// A ledger that learns that a claim has passed to another process says so here. The body is then
/// cancelled if it is async, and its [`attempt`](crate::attempt()) says that it lost.
#[derive(Clone, Default)]
pub struct Claims(Arc<Mutex<Vec<(Duration, Held)>>>);

/// Claims of one length of lease, by fencing token. They are renewed together; there are few
/// lengths.
type Held = HashMap<u64, Claim, RandomState>;

/// One claim whose body runs.
struct Claim {
    id: RecordId,
    terms: Terms,
    /// When it lapses unless it is renewed, at the earliest.
    until: Timestamp,
    lost: Lost,
}

/// How long a claim lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// When it was asked for.
    pub(super) since: Timestamp,
    pub(super) lease: Duration,
    /// The longest that it is renewed for, since then.
    pub(super) longest: Option<Duration>,
}

/// A renewal that is due.
pub(super) struct Renewal {
    pub(super) token: u64,
    pub(super) id: RecordId,
    /// How long the claim is to live from now on.
    pub(super) lease: Duration,
}

/// Whether a claim was lost while its body ran.
#[derive(Clone, Default)]
pub(crate) struct Lost(Arc<Flag>);

#[derive(Default)]
struct Flag {
    lost: AtomicBool,
    body: AtomicWaker,
}

impl Claims {
    /// Says that the claim with this fencing token has passed on.
    pub fn lose(&self, token: u64) {
        let mut leases = self.0.lock();
        leases.iter_mut().for_each(|(_, held)| {
            if let Some(claim) = held.remove(&token) {
                claim.lose(token);
            }
        });
    }

    /// Says that all claims of this process have passed on.
    pub fn lose_all(&self) {
        for (_, held) in &mut *self.0.lock() {
            held.drain().for_each(|(token, claim)| claim.lose(token));
        }
    }

    /// Adds a claim. Returns how to find out that it is lost, and whether it is the first of its
    /// length.
    pub(super) fn hold(&self, token: u64, id: RecordId, terms: Terms) -> (Lost, bool) {
        let lost = Lost::default();
        let claim = Claim {
            id,
            terms,
            until: after(terms.since, terms.lease),
            lost: lost.clone(),
        };
        let mut leases = self.0.lock();
        let first = match leases.iter_mut().find(|(lease, _)| *lease == terms.lease) {
            Some((_, held)) => {
                held.insert(token, claim);
                false
            }
            None => {
                leases.push((terms.lease, Held::from_iter([(token, claim)])));
                true
            }
        };
        (lost, first)
    }

    /// Returns the renewals that are due among the claims of one length, and how long to wait for
    /// the next. `None` if there are none of this length: the next claim starts the renewals again.
    ///
    /// Where the process has a lease of its own, a claim is renewed for as long as its body has run
    /// already, so that a long one costs few renewals.
    pub(super) fn due(
        &self,
        lease: Duration,
        now: Timestamp,
        leases: Leases,
    ) -> Option<(Vec<Renewal>, Duration)> {
        let mut all = self.0.lock();
        let place = all.iter().position(|(length, _)| *length == lease)?;
        let held = &mut all[place].1;
        let lapsed = held.extract_if(|_, claim| now >= claim.until);
        lapsed.for_each(|(token, claim)| claim.lose(token));
        if held.is_empty() {
            all.swap_remove(place);
            return None;
        }
        let mut next = lease / 3;
        let mut renewals = Vec::new();
        for (token, claim) in held {
            next = next.min(until(claim.until, now));
            if let Some(lease) = claim.renewal(now, leases) {
                renewals.push(Renewal {
                    token: *token,
                    id: claim.id.clone(),
                    lease,
                });
            }
        }
        Some((renewals, next))
    }

    /// Notes that a claim was renewed.
    pub(super) fn renewed(&self, token: u64, length: Duration, until: Timestamp) {
        let mut leases = self.0.lock();
        let held = leases.iter_mut().find(|(lease, _)| *lease == length);
        if let Some(claim) = held.and_then(|(_, held)| held.get_mut(&token)) {
            claim.until = claim.until.max(until);
        }
    }

    /// Removes a claim whose body has ended.
    pub(super) fn forget(&self, token: u64, length: Duration) {
        let mut leases = self.0.lock();
        let held = leases.iter_mut().find(|(lease, _)| *lease == length);
        if let Some((_, held)) = held {
            held.remove(&token);
        }
    }
}

impl Claim {
    /// Returns how long the claim is to live from now on, if it is to be renewed now.
    fn renewal(&self, now: Timestamp, leases: Leases) -> Option<Duration> {
        let Terms {
            since,
            lease,
            longest,
        } = self.terms;
        let ran = until(now, since);
        let wanted = match leases {
            Leases::PerProcess if until(self.until, now) > lease * 2 / 3 => return None,
            Leases::PerProcess => lease.max(ran),
            Leases::PerClaim | Leases::None => lease,
        };
        let allowed = longest.map_or(wanted, |longest| wanted.min(longest.saturating_sub(ran)));
        (after(now, allowed) > self.until).then_some(allowed)
    }

    fn lose(self, token: u64) {
        tracing::warn!(
            handler = &*self.id.handler,
            key = &*self.id.key,
            token,
            "the lease was lost while the body ran"
        );
        self.lost.0.lost.store(true, Ordering::Release);
        self.lost.0.body.wake();
    }
}

impl Lost {
    /// Returns whether it was lost.
    pub(super) fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Acquire)
    }

    /// Returns whether it was lost, and else wakes the body once it is.
    pub(super) fn poll(&self, context: &Context<'_>) -> bool {
        self.0.body.register(context.waker());
        self.is_lost()
    }
}

/// Two attempts are compared by what they are, not by what became of them.
impl PartialEq for Lost {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lost {}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lost").field(&self.is_lost()).finish()
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").finish_non_exhaustive()
    }
}

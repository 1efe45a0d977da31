//! The claims whose bodies run in this process, on a ledger with leases.

use std::collections::HashMap;
use std::fmt;
use std::mem;
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
pub struct Claims(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    /// The claims, by the length of their lease: those of one length are renewed together, and
    /// there are few lengths.
    leases: Vec<(Duration, Held)>,
    /// The bodies that claim with their end, by their places.
    unclaimed: HashMap<u64, Lost, RandomState>,
    /// The last place that a claim was given.
    place: u64,
    /// How many losses were told that may be of a claim whose answer is on its way.
    unheard: u64,
}

/// Claims by their places: tokens are unique only for each key.
type Held = HashMap<u64, Claim, RandomState>;

/// One claim whose body runs.
struct Claim {
    id: RecordId,
    token: u64,
    terms: Terms,
    /// When it lapses unless it is renewed, at the earliest.
    until: Timestamp,
    lost: Lost,
}

/// When a claim was asked for. The default is for a ledger without leases.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    at: Timestamp,
    /// The losses that were told before.
    unheard: u64,
}

/// How long a claim lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) asked: Asked,
    pub(super) lease: Duration,
    /// The longest that it is renewed for, since it was asked for.
    pub(super) longest: Option<Duration>,
}

/// A claim that is held.
pub(super) struct Place {
    pub(super) lease: Duration,
    pub(super) place: u64,
    pub(super) lost: Lost,
    /// Whether it is the only one of its length, so that the renewals are to be started.
    pub(super) first: bool,
}

/// A renewal that is due.
pub(super) struct Renewal {
    pub(super) place: u64,
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
    /// The body has asked, and knows.
    told: AtomicBool,
    body: AtomicWaker,
}

impl Claims {
    /// Says that the claim of this key with this fencing token has passed on.
    pub fn lose(&self, id: &RecordId, token: u64) {
        let mut table = self.0.lock();
        let lost = table.remove(|claim| claim.token == token && claim.id == *id);
        if lost.is_empty() {
            table.unheard += 1;
        }
        drop(table);
        lose(lost);
    }

    /// Says that all claims of this process have passed on.
    pub fn lose_all(&self) {
        let mut table = self.0.lock();
        let lost = table.remove(|_| true);
        let unclaimed = mem::take(&mut table.unclaimed);
        table.unheard += 1;
        drop(table);
        lose(lost);
        unclaimed.values().for_each(Lost::set);
    }

    /// Notes that a claim is asked for now.
    pub(super) fn asking(&self, now: Timestamp) -> Asked {
        Asked {
            at: now,
            unheard: self.0.lock().unheard,
        }
    }

    /// Adds a claim that was granted, or returns `None` if it may be lost already: the answer took
    /// half of the lease, or a loss was told while it was on its way.
    pub(super) fn hold(
        &self,
        id: &RecordId,
        token: u64,
        terms: Terms,
        now: Timestamp,
    ) -> Option<Place> {
        let Terms { asked, lease, .. } = terms;
        let mut table = self.0.lock();
        if now >= after(asked.at, lease / 2) || table.unheard != asked.unheard {
            return None;
        }
        table.place += 1;
        let (place, lost) = (table.place, Lost::default());
        let claim = Claim {
            id: id.clone(),
            token,
            terms,
            until: after(asked.at, lease),
            lost: lost.clone(),
        };
        let held = table.held(lease);
        let first = held.is_none();
        match held {
            Some(held) => drop(held.insert(place, claim)),
            None => {
                let held = Held::from_iter([(place, claim)]);
                table.leases.push((lease, held));
            }
        }
        Some(Place {
            lease,
            place,
            lost,
            first,
        })
    }

    /// Adds a body that claims with its end. It has nothing to lose but the ledger: where that was out
    /// of reach for a whole lease, the body's own statements may stand still for ever.
    pub(super) fn hold_unclaimed(&self) -> Place {
        let mut table = self.0.lock();
        table.place += 1;
        let (place, lost) = (table.place, Lost::default());
        table.unclaimed.insert(place, lost.clone());
        Place {
            lease: Duration::ZERO,
            place,
            lost,
            first: false,
        }
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
        let mut table = self.0.lock();
        let held = table.held(lease)?;
        let lapsed: Vec<_> = held.extract_if(|_, claim| now >= claim.until).collect();
        let mut next = lease / 3;
        let mut renewals = Vec::new();
        for (place, claim) in &*held {
            next = next.min(until(claim.until, now));
            if let Some(lease) = claim.renewal(now, leases) {
                renewals.push(Renewal {
                    place: *place,
                    token: claim.token,
                    id: claim.id.clone(),
                    lease,
                });
            }
        }
        let none = held.is_empty();
        if none {
            table.leases.retain(|(length, _)| *length != lease);
        }
        drop(table);
        lose(lapsed.into_iter().map(|(_, claim)| claim));
        (!none).then_some((renewals, next))
    }

    /// Notes that a claim was renewed.
    pub(super) fn renewed(&self, lease: Duration, place: u64, until: Timestamp) {
        let mut table = self.0.lock();
        if let Some(claim) = table.held(lease).and_then(|held| held.get_mut(&place)) {
            claim.until = claim.until.max(until);
        }
    }

    /// Notes that a renewal was refused. A claim whose body has ended meanwhile has lost nothing,
    /// and is not here any more.
    pub(super) fn refused(&self, lease: Duration, place: u64) {
        let claim = self.take(lease, place);
        lose(claim);
    }

    /// Removes a claim whose body has ended.
    pub(super) fn forget(&self, lease: Duration, place: u64) {
        if self.0.lock().unclaimed.remove(&place).is_none() {
            self.take(lease, place);
        }
    }

    fn take(&self, lease: Duration, place: u64) -> Option<Claim> {
        self.0.lock().held(lease)?.remove(&place)
    }
}

impl Table {
    fn held(&mut self, lease: Duration) -> Option<&mut Held> {
        let mut leases = self.leases.iter_mut();
        let (_, held) = leases.find(|(length, _)| *length == lease)?;
        Some(held)
    }

    fn remove(&mut self, is: impl Fn(&Claim) -> bool) -> Vec<Claim> {
        let held = self.leases.iter_mut().map(|(_, held)| held);
        held.flat_map(|held| held.extract_if(|_, claim| is(claim)))
            .map(|(_, claim)| claim)
            .collect()
    }
}

impl Claim {
    /// Returns how long the claim is to live from now on, if it is to be renewed now.
    fn renewal(&self, now: Timestamp, leases: Leases) -> Option<Duration> {
        let Terms {
            asked,
            lease,
            longest,
        } = self.terms;
        let ran = until(now, asked.at);
        let wanted = match leases {
            Leases::PerProcess if until(self.until, now) > lease * 2 / 3 => return None,
            Leases::PerProcess => lease.max(ran),
            Leases::PerClaim | Leases::None => lease,
        };
        let allowed = longest.map_or(wanted, |longest| wanted.min(longest.saturating_sub(ran)));
        (after(now, allowed) > self.until).then_some(allowed)
    }
}

/// Tells bodies that their claims are lost. The table is not locked: a waker may drop the call that
/// it wakes, and with it its place in the table.
fn lose(lost: impl IntoIterator<Item = Claim>) {
    for Claim {
        id, token, lost, ..
    } in lost
    {
        tracing::warn!(
            handler = &*id.handler,
            key = &*id.key,
            token,
            "the lease was lost while the body ran"
        );
        lost.set();
    }
}

impl Lost {
    fn set(&self) {
        self.0.lost.store(true, Ordering::Release);
        self.0.body.wake();
    }

    /// Returns whether it was lost.
    fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Acquire)
    }

    /// [`is_lost`](Self::is_lost) for the body, which may do less once it knows.
    pub(super) fn tell(&self) -> bool {
        let lost = self.is_lost();
        if lost {
            self.0.told.store(true, Ordering::Relaxed);
        }
        lost
    }

    /// Returns whether the body knows that it was lost.
    pub(super) fn was_told(&self) -> bool {
        self.0.told.load(Ordering::Relaxed)
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

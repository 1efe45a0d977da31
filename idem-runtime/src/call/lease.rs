//! Keeps the claims of running bodies alive on a ledger that other processes share. The background
//! does it, because a sync body holds its own thread.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, join_all, ready, select};

use super::claims::{Lost, Place, Renewal, Terms};
use super::panic;
use crate::clock::{BoxFuture, after};
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::ledger::Leases;
use crate::protocol::{RecordId, Reply, Step};

/// Keeps a claim alive until it is dropped.
pub(super) struct Renewed {
    shared: Arc<Shared>,
    place: Place,
}

/// A claim may be lost already.
pub(super) struct Outdated;

impl Renewed {
    /// Keeps a claim alive where the ledger has leases.
    pub(super) fn start(
        idem: &Idem,
        id: &RecordId,
        token: u64,
        terms: Terms,
    ) -> Result<Option<Self>, Outdated> {
        let shared = idem.shared();
        if shared.leases == Leases::None {
            return Ok(None);
        }
        let held = shared.claims.hold(id, token, terms, shared.clock.now());
        let place = held.ok_or(Outdated)?;
        if place.first {
            idem.background()
                .spawn(renew(Arc::clone(shared), place.lease));
        }
        let shared = Arc::clone(shared);
        Ok(Some(Self { shared, place }))
    }

    /// Watches over a body that claims with its end, where the ledger has leases.
    pub(super) fn unclaimed(idem: &Idem) -> Option<Self> {
        let shared = idem.shared();
        (shared.leases != Leases::None).then(|| Self {
            place: shared.claims.hold_unclaimed(),
            shared: Arc::clone(shared),
        })
    }

    pub(super) fn lost(&self) -> &Lost {
        &self.place.lost
    }
}

impl Drop for Renewed {
    fn drop(&mut self) {
        self.shared
            .claims
            .forget(self.place.lease, self.place.place);
    }
}

/// Renews all claims with leases of this length until there are none.
async fn renew(shared: Arc<Shared>, lease: Duration) {
    let mut pause: BoxFuture<'static, ()> = shared.clock.sleep(lease / 3);
    loop {
        pause.await;
        let now = shared.clock.now();
        let Some((due, next)) = shared.claims.due(lease, now, shared.leases) else {
            return;
        };
        let next = shared.clock.sleep(next);
        let renewals = join_all(
            due.into_iter()
                .map(|renewal| renew_one(&shared, renewal, lease)),
        );
        pause = match select(Box::pin(renewals), next).await {
            Either::Left((_, next)) => next,
            // A renewal that hangs is given up, so that the other leases do not lapse.
            Either::Right(_) => Box::pin(ready(())),
        };
    }
}

async fn renew_one(shared: &Shared, renewal: Renewal, length: Duration) {
    let Renewal {
        place,
        token,
        id,
        lease,
    } = renewal;
    // The ledger counts from a later moment.
    let until = after(shared.clock.now(), lease);
    let renewing = AssertUnwindSafe(shared.apply(&id, Step::Renew { token, lease }));
    match renewing.catch_unwind().await {
        Ok(Ok(Reply::Recorded)) => shared.claims.renewed(length, place, until),
        Ok(Ok(_)) => shared.claims.refused(length, place),
        Ok(Err(error)) => {
            tracing::warn!(
                error = format_args!("{error:#}"),
                "the lease could not be renewed and will be tried again"
            );
        }
        // The other leases are renewed all the same.
        Err(caught) => {
            let panic = panic::text(&*caught);
            tracing::error!(panic, "the ledger panicked as it renewed a lease");
        }
    }
}

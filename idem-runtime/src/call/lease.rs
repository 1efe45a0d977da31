//! Keeps the claims of running bodies alive on a ledger that other processes share. The background
//! does it, because a sync body holds its own thread.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, ready, select};

use super::claims::{Lost, Renewal, Terms};
use crate::clock::{BoxFuture, after};
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::ledger::Leases;
use crate::protocol::{RecordId, Reply, Step};

/// Keeps a claim alive until it is dropped.
pub(super) struct Renewed {
    shared: Arc<Shared>,
    token: u64,
    lease: Duration,
    pub(super) lost: Lost,
}

impl Renewed {
    /// Keeps a claim alive where the ledger has leases.
    pub(super) fn start(idem: &Idem, id: &RecordId, token: u64, terms: Terms) -> Option<Self> {
        let shared = idem.shared();
        if shared.leases == Leases::None {
            return None;
        }
        let (lost, first) = shared.claims.hold(token, id.clone(), terms);
        if first {
            idem.background()
                .spawn(renew(Arc::clone(shared), terms.lease));
        }
        Some(Self {
            shared: Arc::clone(shared),
            token,
            lease: terms.lease,
            lost,
        })
    }
}

impl Drop for Renewed {
    fn drop(&mut self) {
        self.shared.claims.forget(self.token, self.lease);
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
    let Renewal { token, id, lease } = renewal;
    // The ledger counts from a later moment.
    let until = after(shared.clock.now(), lease);
    match shared.apply(&id, Step::Renew { token, lease }).await {
        Ok(Reply::Recorded) => shared.claims.renewed(token, length, until),
        // A body that ended meanwhile has lost nothing, and is not among the claims any more.
        Ok(_) => shared.claims.lose(token),
        Err(error) => {
            tracing::warn!(%error, "the lease could not be renewed and will be tried again");
        }
    }
}

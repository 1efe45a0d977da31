//! Keeps the claims of running bodies alive on a ledger that other processes share. The background
//! does it, because a sync body holds its own thread.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, ready, select};

use crate::clock::BoxFuture;
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::protocol::{RecordId, Reply, Step};

/// Keeps a claim alive until it is dropped.
pub(super) struct Renewed {
    shared: Arc<Shared>,
    token: u64,
    lease: Duration,
}

impl Renewed {
    /// Keeps a claim alive where the ledger has leases.
    pub(super) fn start(idem: &Idem, id: &RecordId, token: u64, lease: Duration) -> Option<Self> {
        let shared = idem.shared();
        if !shared.ledger.leases() {
            return None;
        }
        if shared.leases.hold(token, lease, id.clone()) {
            idem.background()
                .detach(Box::pin(renew(Arc::clone(shared), lease)));
        }
        Some(Self {
            shared: Arc::clone(shared),
            token,
            lease,
        })
    }
}

impl Drop for Renewed {
    fn drop(&mut self) {
        self.shared.leases.forget(self.token, self.lease);
    }
}

/// Renews all claims with leases of this length until there are none.
async fn renew(shared: Arc<Shared>, lease: Duration) {
    let mut pause: BoxFuture<'static, ()> = shared.clock.sleep(lease / 3);
    loop {
        pause.await;
        let held = shared.leases.held(lease);
        if held.is_empty() {
            return;
        }
        let next = shared.clock.sleep(lease / 3);
        let renewals = join_all(
            held.into_iter()
                .map(|(token, id)| renew_one(&shared, id, token, lease)),
        );
        pause = match select(Box::pin(renewals), next).await {
            Either::Left((_, next)) => next,
            // A renewal that hangs is given up, so that the other leases do not lapse.
            Either::Right(_) => Box::pin(ready(())),
        };
    }
}

async fn renew_one(shared: &Shared, id: RecordId, token: u64, lease: Duration) {
    match shared.apply(&id, Step::Renew { token, lease }).await {
        Ok(Reply::Recorded) => {}
        // A running body cannot be stopped; its report will be refused. One that ended meanwhile
        // has lost nothing.
        Ok(_) => {
            if shared.leases.forget(token, lease) {
                tracing::warn!(
                    handler = &*id.handler,
                    key = &*id.key,
                    "the lease was lost while the body ran"
                );
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the lease could not be renewed and will be tried again");
        }
    }
}

//! Keeps the claims of running bodies alive on a ledger that other processes share. The background
//! does it, because a sync body holds its own thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use futures_util::future::{Either, join_all, ready, select};
use parking_lot::Mutex;

use crate::clock::BoxFuture;
use crate::idem::{Idem, Inner};
use crate::protocol::{RecordId, Reply, Step};

/// The claims to renew, by the length of their leases. Claims of one length are renewed together;
/// there are few lengths.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Vec<(Duration, Claims)>>);

/// Claims by fencing token, which a ledger gives out once.
type Claims = HashMap<u64, RecordId, RandomState>;

/// Keeps a claim alive until it is dropped.
pub(super) struct Renewed {
    inner: Arc<Inner>,
    token: u64,
    lease: Duration,
}

impl Renewed {
    /// Keeps a claim alive where the ledger has leases.
    pub(super) fn start(idem: &Idem, id: &RecordId, token: u64, lease: Duration) -> Option<Self> {
        let inner = idem.inner();
        if !inner.ledger.leases() {
            return None;
        }
        if inner.leases.hold(token, lease, id.clone()) {
            idem.keeper()
                .meanwhile(Box::pin(renew(Arc::clone(inner), lease)));
        }
        Some(Self {
            inner: Arc::clone(inner),
            token,
            lease,
        })
    }
}

impl Drop for Renewed {
    fn drop(&mut self) {
        self.inner.leases.forget(self.token, self.lease);
    }
}

impl Leases {
    /// Adds a claim, and returns whether it is the first of this length.
    fn hold(&self, token: u64, lease: Duration, id: RecordId) -> bool {
        let mut leases = self.0.lock();
        if let Some((_, claims)) = leases.iter_mut().find(|(length, _)| *length == lease) {
            claims.insert(token, id);
            return false;
        }
        leases.push((lease, Claims::from_iter([(token, id)])));
        true
    }

    /// Returns the claims to renew. Where there are none, the next claim starts the renewal again.
    fn held(&self, lease: Duration) -> Claims {
        let mut leases = self.0.lock();
        leases.retain(|(length, claims)| *length != lease || !claims.is_empty());
        leases
            .iter()
            .find(|(length, _)| *length == lease)
            .map(|(_, claims)| claims.clone())
            .unwrap_or_default()
    }

    /// Removes a claim, and returns whether it was there.
    fn forget(&self, token: u64, lease: Duration) -> bool {
        let mut leases = self.0.lock();
        let claims = leases.iter_mut().find(|(length, _)| *length == lease);
        claims.is_some_and(|(_, claims)| claims.remove(&token).is_some())
    }
}

/// Renews all claims with leases of this length until there are none.
async fn renew(inner: Arc<Inner>, lease: Duration) {
    let mut pause: BoxFuture<'static, ()> = inner.clock.sleep(lease / 3);
    loop {
        pause.await;
        let held = inner.leases.held(lease);
        if held.is_empty() {
            return;
        }
        let next = inner.clock.sleep(lease / 3);
        let renewals = join_all(
            held.into_iter()
                .map(|(token, id)| renew_one(&inner, id, token, lease)),
        );
        pause = match select(Box::pin(renewals), next).await {
            Either::Left((_, next)) => next,
            // A renewal that hangs is given up, so that the other leases do not lapse.
            Either::Right(_) => Box::pin(ready(())),
        };
    }
}

async fn renew_one(inner: &Inner, id: RecordId, token: u64, lease: Duration) {
    match inner.apply(&id, Step::Renew { token, lease }).await {
        Ok(Reply::Recorded) => {}
        // A running body cannot be stopped; its report will be refused. One that ended meanwhile
        // has lost nothing.
        Ok(_) => {
            if inner.leases.forget(token, lease) {
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

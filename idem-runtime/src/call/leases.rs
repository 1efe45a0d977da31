//! The claims that are to be kept alive.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::protocol::RecordId;

/// The claims to renew, by the length of their leases. Claims of one length are renewed together;
/// there are few lengths.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Vec<(Duration, Claims)>>);

/// Claims by fencing token, which a ledger gives out once.
type Claims = HashMap<u64, RecordId, RandomState>;

impl Leases {
    /// Adds a claim, and returns whether it is the first of this length.
    pub(super) fn hold(&self, token: u64, lease: Duration, id: RecordId) -> bool {
        let mut leases = self.0.lock();
        if let Some((_, claims)) = leases.iter_mut().find(|(length, _)| *length == lease) {
            claims.insert(token, id);
            return false;
        }
        leases.push((lease, Claims::from_iter([(token, id)])));
        true
    }

    /// Returns the claims to renew. Where there are none, the next claim starts the renewal again.
    pub(super) fn held(&self, lease: Duration) -> Claims {
        let mut leases = self.0.lock();
        leases.retain(|(length, claims)| *length != lease || !claims.is_empty());
        leases
            .iter()
            .find(|(length, _)| *length == lease)
            .map(|(_, claims)| claims.clone())
            .unwrap_or_default()
    }

    /// Removes a claim, and returns whether it was there.
    pub(super) fn forget(&self, token: u64, lease: Duration) -> bool {
        let mut leases = self.0.lock();
        let claims = leases.iter_mut().find(|(length, _)| *length == lease);
        claims.is_some_and(|(_, claims)| claims.remove(&token).is_some())
    }
}

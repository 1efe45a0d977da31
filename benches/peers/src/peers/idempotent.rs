//! `idempotent`: a claim with a fingerprint of the message, its side effect's value kept as JSON.

use std::time::Duration;

use idem_benches::orders::{Order, PlaceOrder};
use idempotent::memory::MemoryStore;
use idempotent::valkey::ValkeyStore;
use idempotent::{ExecutionOutcome, IdempotencyKey, IdempotencyStore};

use crate::peer::{Peer, work};

/// How long a claim lives, and a result: as long as idem's.
const LEASE: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// `idempotent` on one of its stores.
pub struct Idempotent<S>(S);

impl Idempotent<MemoryStore> {
    /// In this process's memory; runs on the current runtime.
    pub fn in_memory() -> Self {
        Self(MemoryStore::builder().try_build().unwrap())
    }
}

impl Idempotent<ValkeyStore> {
    /// On the server at this address.
    pub async fn at(url: &str) -> Self {
        // A server that others use as well keeps its own keys apart.
        let prefix = format!("idem-peers-{:016x}", fastrand::u64(..));
        Self(
            ValkeyStore::with_url(url)
                .prefix(prefix)
                .try_build()
                .await
                .unwrap(),
        )
    }
}

impl<S: IdempotencyStore> Peer for Idempotent<S> {
    async fn place(&self, order: PlaceOrder) -> Order {
        let key = IdempotencyKey::new(order.order_no.as_str()).unwrap();
        let message = serde_json::to_vec(&order).unwrap();
        let claim = self
            .0
            .claim(&key, LEASE)
            .fingerprint("orders.place", &message)
            .json();
        match claim
            .execute_or_replay(TTL, |_token| async { Ok(work(order)) })
            .await
            .unwrap()
        {
            ExecutionOutcome::Executed(order) | ExecutionOutcome::Replayed(order) => order,
            other => panic!("{other:?}"),
        }
    }
}

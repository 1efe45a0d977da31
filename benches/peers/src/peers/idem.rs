//! Idem itself, on its sled ledger and on Redis.

use std::path::Path;

use idem_benches::orders::{Order, PlaceOrder, place_order};
use idem_redis::Redis;
use idem_runtime::{Error, Idem};

use crate::peer::Peer;

/// Idem.
pub struct Ours(Idem);

impl Ours {
    /// A ledger in this folder.
    ///
    /// # Errors
    /// Those of [`Idem::open`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Idem::open(folder).map(Self)
    }

    /// A ledger on the Redis at this address, which need not last.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn on_redis(url: &str) -> Result<Self, Error> {
        // A server that others use as well keeps its own keys apart.
        let name = format!("idem-peers-{:016x}", fastrand::u64(..));
        let redis = Redis::new(url).name(name).allow_loss();
        Idem::builder().open_with(redis.ledger()).await.map(Self)
    }
}

impl Peer for Ours {
    async fn place(&self, order: PlaceOrder) -> Order {
        self.0.scope(place_order(order)).await.unwrap()
    }
}

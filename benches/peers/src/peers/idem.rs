//! Idem itself, on its sled ledger.

use std::path::Path;

use idem_benches::orders::{Order, PlaceOrder, place_order};
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
}

impl Peer for Ours {
    async fn place(&self, order: PlaceOrder) -> Order {
        self.0.scope(place_order(order)).await.unwrap()
    }
}

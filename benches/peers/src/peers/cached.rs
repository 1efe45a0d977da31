//! `cached` on its disk store: the attribute on an async fn, writes durable as they are by default,
//! which is redb's `Durability::Immediate`, one `fsync` a commit. On an async fn the crate itself
//! moves redb's calls to other threads.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cached::macros::concurrent_cached;
use cached::{RedbCache, RedbCacheError};
use idem_benches::orders::{Order, PlaceOrder};

use crate::peer::{Peer, work};

/// Where the store of [`place`] is: the attribute makes it a static.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

#[concurrent_cached(
    disk = true,
    ty = "RedbCache<String, Order>",
    create = r#"{ RedbCache::builder("orders").disk_dir(FOLDER.get().unwrap()).build().unwrap() }"#,
    key = "String",
    convert = "{ order.order_no.clone() }",
    map_error = "|error: RedbCacheError| error"
)]
async fn place(order: PlaceOrder) -> Result<Order, RedbCacheError> {
    Ok(work(order))
}

/// `cached`.
pub struct Cached(());

impl Cached {
    /// A store in this folder; there is one in a process.
    pub fn open(folder: &Path) -> Self {
        FOLDER.set(folder.to_owned()).unwrap();
        Self(())
    }
}

impl Peer for Cached {
    async fn place(&self, order: PlaceOrder) -> Order {
        place(order).await.unwrap()
    }
}

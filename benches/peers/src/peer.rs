//! What all of them do, and how it is measured.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use idem_benches::orders::{Order, PlaceOrder, delivery, placed, rate};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Places an order once, remembers the result under its number, and gives it to every duplicate.
pub trait Peer: Send + Sync + 'static {
    /// Places this order, or gives back what was placed.
    fn place(&self, order: PlaceOrder) -> impl Future<Output = Order> + Send;
}

static RUNS: AtomicU64 = AtomicU64::new(0);

/// The body every peer runs, which is idem's with a count of its runs.
pub fn work(order: PlaceOrder) -> Order {
    RUNS.fetch_add(1, Ordering::Relaxed);
    placed(order)
}

/// One side of a comparison.
pub struct Side<'a, P> {
    runtime: &'a Runtime,
    peer: Arc<P>,
    placed: Cell<u64>,
}

impl<'a, P: Peer> Side<'a, P> {
    /// A side that has placed nothing.
    pub fn new(runtime: &'a Runtime, peer: P) -> Self {
        Self {
            runtime,
            peer: Arc::new(peer),
            placed: Cell::new(0),
        }
    }

    /// Places new orders. Returns how many a second.
    pub fn first_calls(&self, count: u64, callers: usize) -> f64 {
        let first = self.placed.replace(self.placed.get() + count);
        self.runtime
            .block_on(rate(first..first + count, callers, |number| {
                let peer = Arc::clone(&self.peer);
                async move { place(&*peer, number).await }
            }))
    }

    /// Makes duplicate calls for placed orders, one after another by each caller. Returns how many
    /// a second.
    ///
    /// # Panics
    /// If a body runs.
    pub fn duplicates(&self, count: u64, callers: u64) -> f64 {
        let (runs, placed, each) = (
            RUNS.load(Ordering::Relaxed),
            self.placed.get(),
            count / callers,
        );
        let start = Instant::now();
        self.runtime.block_on(async {
            let asking = (0..callers).map(|_| {
                let peer = Arc::clone(&self.peer);
                async move {
                    for _ in 0..each {
                        place(&*peer, fastrand::u64(..placed)).await;
                    }
                }
            });
            asking.collect::<JoinSet<()>>().join_all().await;
        });
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(
            RUNS.load(Ordering::Relaxed),
            runs,
            "a duplicate ran the body"
        );
        (each * callers) as f64 / seconds
    }
}

async fn place(peer: &impl Peer, number: u64) {
    let order = delivery(number);
    let order_no = order.order_no.clone();
    assert_eq!(peer.place(order).await.order_no, order_no);
}

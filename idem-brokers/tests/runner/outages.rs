//! What a handler needs is down: the consumer holds its messages, and gives none back in circles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use idem_brokers::testing::Queue;
use idem_brokers::{Consumer, Running};
use idem_runtime::pause::PauseRules;
use idem_runtime::protocol::Actor;
use idem_runtime::testing::{Temporary, temporary_with};
use idem_runtime::{Error, Filter, Idem, idempotent};
use idem_test_support::{DEADLINE, within};
use parking_lot::Mutex;

const ORDERS: usize = 200;

/// The database of the bodies.
#[derive(Clone, Default)]
struct Shop {
    is_up: Arc<AtomicBool>,
    /// The orders, as often as they were placed.
    placed: Arc<Mutex<Vec<String>>>,
    deliveries: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
}

impl Shop {
    fn place(&self, order_no: &str) -> Result<(), ShopError> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        if !self.is_up.load(Ordering::SeqCst) {
            return Err(ShopError::Away);
        }
        self.placed.lock().push(order_no.to_owned());
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum ShopError {
    #[error("the database cannot be reached")]
    Away,
    #[error(transparent)]
    Idem(#[from] Error),
}

fn is_outage(error: &ShopError) -> bool {
    matches!(error, ShopError::Away)
}

#[idempotent(
    name = "orders.classified",
    key = "order_no",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "10ms", factor = 1, max = "10ms"),
    outage = is_outage,
    skip(shop)
)]
async fn classified(shop: Shop, order_no: String) -> Result<(), ShopError> {
    shop.place(&order_no)
}

/// Nothing says what an outage is.
#[idempotent(
    name = "orders.unclassified",
    key = "order_no",
    retry = "redeliver",
    retries = 3,
    backoff(initial = "300ms", factor = 1, max = "300ms"),
    skip(shop)
)]
async fn unclassified(shop: Shop, order_no: String) -> Result<(), ShopError> {
    shop.place(&order_no)
}

fn open() -> Temporary {
    let rules = PauseRules::default()
        .failures(20, Duration::from_millis(50))
        .wait(Duration::from_millis(20), Duration::from_millis(100));
    temporary_with(Idem::builder().pause(rules)).unwrap()
}

fn orders() -> Queue {
    let queue = Queue::new("orders");
    for number in 0..ORDERS {
        queue.publish(format!(r#""{}-{number:03}""#, number % 5));
    }
    queue
}

macro_rules! start {
    ($idem:expr, $queue:expr, $shop:expr, $handler:path) => {{
        let shop = $shop.clone();
        Consumer::new(&$idem, $queue.clone())
            .in_flight(16)
            .ordered_by(|order_no: &String| order_no[..1].to_owned())
            .start(move |order_no: String| {
                shop.deliveries.fetch_add(1, Ordering::SeqCst);
                $handler(shop.clone(), order_no)
            })
    }};
}

async fn until_paused(idem: &Idem) {
    within(async {
        while idem.pauses().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Lets some messages through to see, ends the outage, and checks what became of the orders.
async fn comes_back(idem: &Idem, queue: &Queue, shop: &Shop, consumer: Running) {
    until_paused(idem).await;
    let seen = shop.attempts.load(Ordering::SeqCst) + 3;
    within(async {
        while shop.attempts.load(Ordering::SeqCst) < seen {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(shop.placed.lock().is_empty());
    shop.is_up.store(true, Ordering::SeqCst);
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert!(letters.is_empty(), "{letters:?}");
    let mut lanes = BTreeMap::<_, Vec<_>>::new();
    for order_no in shop.placed.lock().iter() {
        let lane = lanes.entry(order_no[..1].to_owned()).or_default();
        lane.push(order_no.clone());
    }
    assert_eq!(lanes.values().map(Vec::len).sum::<usize>(), ORDERS);
    for placed in lanes.values() {
        assert!(placed.is_sorted(), "the order of a lane: {placed:?}");
    }
    // Each message, those that failed before the pause, and those that were let through.
    let deliveries = shop.deliveries.load(Ordering::SeqCst);
    assert!(deliveries < 2 * ORDERS, "{deliveries} deliveries");
}

#[tokio::test]
async fn an_outage_makes_no_letters_and_every_order_is_placed_once() {
    let (idem, queue, shop) = (open(), orders(), Shop::default());
    let consumer = start!(idem, queue, shop, classified);
    comes_back(&idem, &queue, &shop, consumer).await;
}

#[tokio::test]
async fn where_nothing_says_what_an_outage_is_everything_that_fails_is_one() {
    let (idem, queue, shop) = (open(), orders(), Shop::default());
    let counted = shop.clone();
    let consumer = Consumer::new(&idem, queue.clone())
        .in_flight(32)
        .start(move |order_no: String| unclassified(counted.clone(), order_no));
    until_paused(&idem).await;
    shop.is_up.store(true, Ordering::SeqCst);
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert!(letters.is_empty(), "{letters:?}");
    let mut placed = shop.placed.lock().clone();
    placed.sort();
    placed.dedup();
    assert_eq!((placed.len(), shop.placed.lock().len()), (ORDERS, ORDERS));
}

#[tokio::test]
async fn a_consumer_of_a_paused_handler_stops_at_once_and_gives_back_what_it_holds() {
    let (idem, queue, shop) = (open(), orders(), Shop::default());
    idem.pause("orders.classified", Actor::default())
        .await
        .unwrap();
    let consumer = start!(idem, queue, shop, classified);
    within(async {
        while queue.unacked() < 31 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(consumer.stop(Duration::MAX)).await;
    within(async {
        while queue.waiting() < ORDERS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(shop.attempts.load(Ordering::SeqCst), 0);
}

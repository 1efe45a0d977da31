//! A consumer whose handler gets many messages: each is settled by its own outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use idem_brokers::testing::Queue;
use idem_brokers::{Consumer, Running};
use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::testing::temporary;
use idem_runtime::{Batches, Error, Filter, Idem, idempotent};
use idem_test_support::{DEADLINE, within};
use parking_lot::Mutex;

use crate::order;

const ORDERS: usize = 200;

/// The database of the bodies.
#[derive(Clone, Default)]
struct Shop {
    is_down: Arc<AtomicBool>,
    is_mended: Arc<AtomicBool>,
    bodies: Arc<Mutex<Vec<Vec<String>>>>,
    placed: Arc<Mutex<BTreeMap<String, usize>>>,
}

#[derive(Debug, thiserror::Error)]
enum ShopError {
    #[error("the database cannot be reached")]
    Away,
    #[error("no such article")]
    NoArticle,
    #[error(transparent)]
    Idem(#[from] Error),
}

fn is_outage(error: &ShopError) -> bool {
    matches!(error, ShopError::Away)
}

/// Orders whose number ends with 7 name no article, and one of 66 makes the body panic.
#[idempotent(
    name = "orders.place",
    each = "order_nos",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "10ms", factor = 1, max = "10ms"),
    outage = is_outage,
    skip(shop)
)]
async fn place(order_nos: Vec<String>, shop: Shop) -> Vec<Result<usize, ShopError>> {
    shop.bodies.lock().push(order_nos.clone());
    let (is_down, is_mended) = (&shop.is_down, &shop.is_mended);
    if is_down.load(Ordering::SeqCst) {
        return order_nos.iter().map(|_| Err(ShopError::Away)).collect();
    }
    assert!(!order_nos.contains(&"A-66".to_owned()), "66 of them");
    let mut placed = shop.placed.lock();
    let results = order_nos.into_iter().map(|order_no| {
        if order_no.ends_with('7') && !is_mended.load(Ordering::SeqCst) {
            return Err(ShopError::NoArticle);
        }
        let times = placed.entry(order_no).or_default();
        *times += 1;
        Ok(*times)
    });
    results.collect()
}

fn consumer(idem: &Idem, queue: &Queue, shop: &Shop) -> Running {
    let shop = shop.clone();
    let batches = Batches::new(16, Duration::from_millis(50), move |order_nos| {
        place(order_nos, shop.clone())
    });
    Consumer::new(idem, queue.clone())
        .in_flight(32)
        .start_batches(batches)
}

#[tokio::test]
async fn each_message_of_a_batch_is_settled_by_its_own_outcome() {
    let (idem, queue, shop) = (temporary().unwrap(), Queue::new("orders"), Shop::default());
    let running = consumer(&idem, &queue, &shop);
    for _ in 0..2 {
        (0..ORDERS).for_each(|number| queue.publish(order(&format!("A-{number}"))));
    }
    within(queue.until_empty()).await;

    let letters = idem.dead_letters().by("ann");
    let open = letters.list(&Filter::default()).await.unwrap();
    let mut dead: Vec<_> = open.iter().map(|letter| letter.key.as_str()).collect();
    dead.sort_unstable();
    let is_good = |number: &usize| *number != 66 && number % 10 != 7;
    let mut expected: Vec<_> = (0..ORDERS).filter(|number| !is_good(number)).collect();
    expected.sort_unstable_by_key(|number| format!("A-{number}"));
    let expected: Vec<_> = expected
        .iter()
        .map(|number| format!("A-{number}"))
        .collect();
    assert_eq!(dead, expected);
    for letter in &open {
        assert_eq!((letter.attempts.len(), letter.origin.is_some()), (2, true));
    }
    // The messages of the body that panicked ran again, each alone.
    let placed = shop.placed.lock().clone();
    assert_eq!(placed.len(), (0..ORDERS).filter(is_good).count());
    assert!(placed.values().all(|times| *times == 1), "{placed:?}");
    let bodies = shop.bodies.lock().clone();
    assert!(bodies.iter().any(|body| body.len() > 8), "{bodies:?}");
    assert!(bodies.iter().all(|body| body.len() <= 16), "{bodies:?}");

    // The consumer runs its letters.
    shop.is_mended.store(true, Ordering::SeqCst);
    let seven = open.iter().find(|letter| letter.key == "A-7").unwrap();
    let run = letters.run(&seven.id).await.unwrap();
    assert_eq!(run, RunOutcome::Done(1.into()));
    within(running.stop(DEADLINE)).await;
}

#[tokio::test]
async fn an_outage_makes_no_letter_of_a_batch() {
    let (idem, queue, shop) = (temporary().unwrap(), Queue::new("orders"), Shop::default());
    shop.is_down.store(true, Ordering::SeqCst);
    let running = consumer(&idem, &queue, &shop);
    (0..6).for_each(|number| queue.publish(order(&format!("A-{number}"))));
    // It is paused: all of them are held.
    within(async {
        while queue.unacked() < 6 || shop.bodies.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    shop.is_down.store(false, Ordering::SeqCst);
    within(queue.until_empty()).await;
    let letters = idem.dead_letters();
    assert_eq!(letters.list(&Filter::default()).await.unwrap(), []);
    assert_eq!(shop.placed.lock().len(), 6);
    within(running.stop(DEADLINE)).await;
}

//! Dead letters of a consumer's source are run and sent back by the consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use idem_brokers::testing::Queue;
use idem_brokers::{Consumer, Running, Source};
use idem_runtime::dead_letters::{LetterError, RunOutcome};
use idem_runtime::testing::Temporary;
use idem_runtime::{DeadLetter, Error, Filter, Idem, idempotent};
use idem_test_support::{DEADLINE, within};

use crate::order;

/// What handlers get from `start_with`.
#[derive(Debug, Default)]
struct Shop {
    open: AtomicBool,
    placed: AtomicUsize,
    billed: AtomicUsize,
}

#[idempotent(name = "orders.place", key = "order_no", retries = 0, skip(shop))]
async fn place(order_no: String, shop: Arc<Shop>) -> Result<usize, Error> {
    if !shop.open.load(Ordering::SeqCst) {
        return Err(Error::OutsideHandler);
    }
    Ok(shop.placed.fetch_add(1, Ordering::SeqCst) + 1)
}

#[idempotent(name = "orders.bill", key = "order_no", retries = 0, skip(shop))]
async fn bill(order_no: String, shop: Arc<Shop>) -> Result<usize, Error> {
    if !shop.open.load(Ordering::SeqCst) {
        return Err(Error::OutsideHandler);
    }
    Ok(shop.billed.fetch_add(1, Ordering::SeqCst) + 1)
}

fn begun() -> (Temporary, Queue, Arc<Shop>) {
    let idem = idem_runtime::testing::temporary().unwrap();
    (idem, Queue::new("orders"), Arc::default())
}

fn consumer(idem: &Idem, queue: &Queue, shop: &Arc<Shop>) -> Running {
    Consumer::new(idem, queue.clone())
        .name("orders.place")
        .ordered_by(|_: &String| "Ann")
        .start_with(Arc::clone(shop), place)
}

/// Waits for the queue to be empty, and returns the open letters, newest first.
async fn letters(idem: &Idem, queue: &Queue) -> Vec<DeadLetter> {
    within(queue.until_empty()).await;
    let letters = idem.dead_letters();
    letters.list(&Filter::default()).await.unwrap()
}

#[tokio::test]
async fn a_consumer_runs_the_letters_of_its_source_until_it_stops() {
    let (idem, queue, shop) = begun();
    let running = consumer(&idem, &queue, &shop);
    ["A-1", "A-2"].map(|number| queue.publish(order(number)));
    let died = letters(&idem, &queue).await;
    let [second, first] = &died[..] else {
        panic!("{died:?}");
    };
    let by_ann = idem.dead_letters().by("ann");
    let ordering_key = |letter: &DeadLetter| letter.origin.clone().unwrap().ordering_key;
    assert_eq!(ordering_key(first).as_deref(), Some("Ann"));

    // It fails again, and the new letter can be run as the old one.
    let failed = by_ann.run(&first.id).await.unwrap();
    let RunOutcome::Failed {
        letter: Some(again),
        ..
    } = failed
    else {
        panic!("{failed:?}");
    };
    shop.open.store(true, Ordering::SeqCst);
    assert!(idem.can_run(second));
    assert_eq!(
        by_ann.run(&again).await.unwrap(),
        RunOutcome::Done(1.into())
    );
    assert_eq!(shop.placed.load(Ordering::SeqCst), 1);

    within(running.stop(DEADLINE)).await;
    assert!(!idem.can_run(second) && !idem.can_republish("memory:orders"));
    let refused = by_ann.run(&second.id).await.unwrap_err();
    assert!(
        matches!(refused, LetterError::NoHandler { .. }),
        "{refused}"
    );
    let refused = by_ann.republish(&second.id).await.unwrap_err();
    assert!(
        matches!(refused, LetterError::NoPublisher { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_consumer_sends_letters_back_to_its_source() {
    let (idem, queue, shop) = begun();
    let running = consumer(&idem, &queue, &shop);
    queue.publish(order("A-1"));
    let died = letters(&idem, &queue).await;
    shop.open.store(true, Ordering::SeqCst);
    let by_ann = idem.dead_letters().by("ann");
    by_ann.republish(&died[0].id).await.unwrap();
    assert_eq!(letters(&idem, &queue).await, []);
    assert_eq!(shop.placed.load(Ordering::SeqCst), 1);
    assert_eq!(queue.until_published(2).await[1].payload, b"\"A-1\"");
    within(running.stop(DEADLINE)).await;
}

#[tokio::test]
async fn a_message_that_could_not_be_decoded_runs_once_it_is_edited() {
    let (idem, queue, shop) = begun();
    // Named after its source, it does not know whose letters these are.
    let running = Consumer::new(&idem, queue.clone()).start_with(Arc::clone(&shop), place);
    queue.publish("17");
    let died = letters(&idem, &queue).await;
    assert_eq!(died[0].handler, queue.name());
    let by_ann = idem.dead_letters().by("ann");
    let refused = by_ann.run(&died[0].id).await.unwrap_err();
    assert!(
        matches!(refused, LetterError::PayloadUnfit { .. }),
        "{refused}"
    );

    // The letter of its own handler knows where it came from.
    by_ann
        .edit(&died[0].id, "A-17", "an order number begins with A-")
        .await
        .unwrap();
    let failed = by_ann.run(&died[0].id).await.unwrap();
    assert!(matches!(failed, RunOutcome::Failed { .. }), "{failed:?}");
    let filter = Filter::default().handler("orders.place");
    let again = idem.dead_letters().list(&filter).await.unwrap().remove(0);
    assert_eq!(
        again.origin.as_ref().unwrap().position.as_deref(),
        Some("offset 0")
    );
    shop.open.store(true, Ordering::SeqCst);
    assert_eq!(
        by_ann.run(&again.id).await.unwrap(),
        RunOutcome::Done(1.into())
    );
    within(running.stop(DEADLINE)).await;
}

#[tokio::test]
async fn a_letter_goes_to_the_consumer_of_its_handler() {
    let (idem, queue, shop) = begun();
    let placing = consumer(&idem, &queue, &shop);
    queue.publish(order("A-1"));
    let died = letters(&idem, &queue).await;
    within(placing.stop(DEADLINE)).await;
    shop.open.store(true, Ordering::SeqCst);

    // A consumer of the same source with another handler runs nothing of it.
    let billing = Consumer::new(&idem, queue.clone())
        .name("orders.bill")
        .start_with(Arc::clone(&shop), bill);
    let by_ann = idem.dead_letters().by("ann");
    let refused = by_ann.run(&died[0].id).await.unwrap_err();
    assert!(
        matches!(refused, LetterError::NoHandler { .. }),
        "{refused}"
    );
    assert_eq!(shop.billed.load(Ordering::SeqCst), 0);

    // Of two, the one that calls the letter's handler runs it.
    let placing = consumer(&idem, &queue, &shop);
    let late = Consumer::new(&idem, queue.clone()).start_with(Arc::clone(&shop), bill);
    assert_eq!(
        by_ann.run(&died[0].id).await.unwrap(),
        RunOutcome::Done(1.into())
    );
    assert_eq!(shop.billed.load(Ordering::SeqCst), 0);
    for running in [billing, placing, late] {
        within(running.stop(DEADLINE)).await;
    }
}

#[tokio::test]
async fn what_the_service_registers_goes_before_a_consumer() {
    let (idem, queue, shop) = begun();
    let other = Queue::new("elsewhere");
    let mine = Arc::new(Shop {
        open: true.into(),
        ..Shop::default()
    });
    idem.register_handler("orders.place", {
        let mine = Arc::clone(&mine);
        move |order_no| place(order_no, Arc::clone(&mine))
    });
    idem_brokers::republish(&idem, queue.name(), "orders", other.clone());
    // It is registered before the consumer, and goes first all the same.
    let running = consumer(&idem, &queue, &shop);
    ["A-1", "A-2"].map(|number| queue.publish(order(number)));
    let died = letters(&idem, &queue).await;
    let by_ann = idem.dead_letters().by("ann");
    by_ann.run(&died[0].id).await.unwrap();
    assert_eq!(mine.placed.load(Ordering::SeqCst), 1);
    by_ann.republish(&died[1].id).await.unwrap();
    assert_eq!(within(other.until_published(1)).await.len(), 1);
    within(running.stop(DEADLINE)).await;
}

//! The runner's promises, tested with the queue in memory.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod batches;
mod letters;
mod outages;
mod secrets;
mod traces;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use idem_brokers::testing::Queue;
use idem_brokers::{Consumer, KEY_HEADER, Message, State};
use idem_runtime::{Error, Filter, dead_letters::Reason, idempotent, outbox::Keyed};
use idem_test_support::{DEADLINE, within};
use tokio::sync::Semaphore;

#[idempotent(
    name = "orders.place",
    key = "order_no",
    retry = "redeliver",
    retries = 2,
    backoff(initial = "10ms", factor = 1, max = "10ms"),
    skip(place)
)]
async fn place_order<F: AsyncFn() -> Result<u32, Error>>(
    place: F,
    order_no: String,
) -> Result<u32, Error> {
    place().await
}

fn order(order_no: &str) -> String {
    serde_json::to_string(order_no).unwrap()
}

/// A consumer with this body, which counts the attempts.
macro_rules! consumer {
    ($idem:expr, $queue:expr, $starts:expr, $body:expr) => {{
        let starts = Arc::clone(&$starts);
        Consumer::new(&$idem, $queue.clone())
            .in_flight(4)
            .start(move |order_no: String| {
                let starts = Arc::clone(&starts);
                place_order(
                    async move || {
                        starts.fetch_add(1, Ordering::SeqCst);
                        $body
                    },
                    order_no,
                )
            })
    }};
}

/// Sends twenty messages through a consumer and checks its highest numbers of unacked messages and
/// of concurrent calls.
async fn holds(
    limit: impl FnOnce(Consumer<Queue, String>) -> Consumer<Queue, String>,
    unacked: usize,
    calls: usize,
) {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let open = Arc::new(Semaphore::new(0));
    (0..20).for_each(|number| queue.publish(order(&format!("A-{number}"))));
    let shared = (Arc::clone(&open), Arc::clone(&running), Arc::clone(&most));
    let consumer = limit(Consumer::new(&idem, queue.clone())).start(move |order_no: String| {
        let (open, running, most) = shared.clone();
        let body = async move || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            open.acquire().await.unwrap().forget();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(1)
        };
        place_order(body, order_no)
    });
    within(async {
        while (queue.unacked(), running.load(Ordering::SeqCst)) != (unacked, calls) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    open.add_permits(20);
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
    assert_eq!(
        (queue.most_unacked(), most.load(Ordering::SeqCst)),
        (unacked, calls)
    );
}

#[tokio::test]
async fn concurrent_calls_and_unacked_messages_are_limited() {
    holds(|consumer| consumer.in_flight(4), 7, 4).await;
    holds(|consumer| consumer.in_flight(4).prefetch(12), 12, 4).await;
    holds(|consumer| consumer.in_flight(4).prefetch(4), 4, 4).await;
    holds(|consumer| consumer.in_flight(4).prefetch(1), 4, 4).await;
    // A message that another consumer could work on stays in the queue.
    holds(|consumer| consumer.in_flight(1), 1, 1).await;
}

#[tokio::test]
async fn a_redelivered_message_has_no_effect() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let starts = Arc::new(AtomicUsize::new(0));
    (0..20).for_each(|number| queue.publish(order(&format!("A-{number}"))));
    let consumer = consumer!(idem, queue, starts, Ok(1));
    within(queue.until_empty()).await;
    queue.rewind();
    within(queue.until_empty()).await;
    assert_eq!(starts.load(Ordering::SeqCst), 20);
    within(consumer.stop(DEADLINE)).await;
}

#[tokio::test]
async fn a_spent_budget_is_a_letter_with_the_origin() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let starts = Arc::new(AtomicUsize::new(0));
    queue.push(
        Message::new("orders", order("A-1"))
            .id("m-17")
            .header("trace", "00-4bf9"),
    );
    let closed = || Error::Closed {
        handler: None,
        key: None,
    };
    let consumer = consumer!(idem, queue, starts, Err(closed()));
    within(queue.until_empty()).await;
    assert_eq!(starts.load(Ordering::SeqCst), 3);
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    let origin = letters[0].origin.clone().unwrap();
    assert_eq!(
        (origin.place().as_str(), origin.message_id.as_deref()),
        ("memory:orders", Some("m-17"))
    );
    assert_eq!(origin.headers, [("trace".to_owned(), "00-4bf9".to_owned())]);
    assert_eq!(origin.redelivered, Some(true), "it came three times");
    assert_eq!(
        origin.redelivered,
        Some(true),
        "the last delivery was not the first"
    );
    within(consumer.stop(DEADLINE)).await;
}

#[tokio::test]
async fn a_consumer_reconnects_when_its_broker_is_back() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let starts = Arc::new(AtomicUsize::new(0));
    let consumer = consumer!(idem, queue, starts, Ok(1));
    assert!(within(consumer.taking()).await);
    queue.go_down();
    queue.publish(order("A-1"));
    within(async {
        while consumer.state() == State::Taking {
            tokio::task::yield_now().await;
        }
    })
    .await;
    queue.come_back();
    within(queue.until_empty()).await;
    assert_eq!(starts.load(Ordering::SeqCst), 1);
    within(consumer.stop(DEADLINE)).await;
}

#[tokio::test]
async fn no_message_is_taken_while_nothing_can_be_recorded() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let starts = Arc::new(AtomicUsize::new(0));
    idem.close().await.unwrap();
    let consumer = consumer!(idem, queue, starts, Ok(1));
    (0..100).for_each(|number| queue.publish(order(&format!("A-{number}"))));
    within(async {
        while consumer.state() != State::Paused {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Only messages that were taken before the failure, and not the whole queue.
    assert!(queue.waiting() >= 90, "{} messages wait", queue.waiting());
    assert_eq!(starts.load(Ordering::SeqCst), 0);
    within(consumer.stop(DEADLINE)).await;
    assert_eq!(queue.waiting() + queue.unacked(), 100, "none is lost");
}

#[tokio::test]
async fn a_consumer_survives_a_panicking_handler() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    // Outside of an idempotent handler, where no attempt catches it.
    let consumer = Consumer::new(&idem, queue.clone())
        .in_flight(1)
        .start(move |_: String| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(call > 0, "the first call panics");
                Ok::<_, Error>(())
            }
        });
    queue.publish(order("A-1"));
    within(queue.until_empty()).await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    within(consumer.stop(DEADLINE)).await;
}

#[idempotent(name = "orders.refuse", key = "order_no", retries = 0)]
async fn refuse_order(order_no: String) -> Result<u32, Error> {
    panic!("no {order_no}")
}

/// The verdict of a handler's calls survives its panic: the result, the dead letter, the next
/// attempt.
#[tokio::test]
async fn a_panic_after_the_call_keeps_its_verdict() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let (starts, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&starts), Arc::clone(&calls));
    let consumer =
        Consumer::new(&idem, queue.clone())
            .in_flight(1)
            .start(move |order_no: String| {
                let (starts, calls) = counts.clone();
                async move {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let done = if order_no == "dead" {
                        refuse_order(order_no).await
                    } else {
                        let fails = order_no == "fails";
                        let place = async move || {
                            starts.fetch_add(1, Ordering::SeqCst);
                            if fails {
                                Err(Error::Closed {
                                    handler: None,
                                    key: None,
                                })
                            } else {
                                Ok(1)
                            }
                        };
                        place_order(place, order_no).await
                    };
                    panic!("after the call with {done:?}");
                    #[expect(unreachable_code, reason = "the handler's type")]
                    Ok::<_, Error>(())
                }
            });
    for (order_no, expected) in [("done", 1), ("dead", 1), ("fails", 3)] {
        calls.store(0, Ordering::SeqCst);
        queue.publish(order(order_no));
        within(queue.until_empty()).await;
        assert_eq!(
            calls.load(Ordering::SeqCst),
            expected,
            "deliveries of `{order_no}`"
        );
    }
    assert_eq!(starts.load(Ordering::SeqCst), 1 + 3);
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(
        letters
            .iter()
            .map(|letter| &*letter.key)
            .collect::<Vec<_>>(),
        ["fails", "dead"]
    );
    within(consumer.stop(DEADLINE)).await;
}

#[tokio::test]
async fn a_panicking_decoder_makes_a_letter() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let decode = |bytes: &[u8]| Ok::<_, String>(u32::from(bytes[0]));
    let consumer = Consumer::with_decoder(&idem, queue.clone(), decode).name("orders.place");
    let consumer = consumer.start(|_: u32| async { Ok::<_, Error>(()) });
    queue.publish("");
    queue.publish("");
    within(queue.until_empty()).await;
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(
        letters.len(),
        1,
        "one message delivered twice is one letter"
    );
    assert_eq!(
        (letters[0].reason, &*letters[0].handler),
        (Reason::Undecodable, "orders.place")
    );
    within(consumer.stop(DEADLINE)).await;
}

/// Which parts of an order panic when they are read.
#[derive(Debug, Clone, serde::Deserialize)]
struct Odd {
    order_no: String,
    ordering_key: Option<String>,
    key: Option<String>,
    form: Option<String>,
}

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.form.as_ref().unwrap())
    }
}

#[idempotent(name = "orders.odd", key = order.key.clone().unwrap(), retry = "redeliver")]
async fn place_odd(order: Odd) -> Result<String, Error> {
    Ok(order.order_no)
}

#[tokio::test]
async fn a_panic_before_the_attempt_is_one_letter_and_blocks_no_other_message() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let whole =
        serde_json::json!({ "order_no": "A-1", "ordering_key": "ann", "key": "k", "form": "f" });
    for part in ["ordering_key", "key", "form"] {
        let mut order = whole.clone();
        order[part] = serde_json::Value::Null;
        queue.publish(order.to_string());
    }
    queue.publish(whole.to_string());
    let consumer = Consumer::new(&idem, queue.clone()).name("orders.odd");
    let consumer = consumer
        .ordered_by(|order: &Odd| order.ordering_key.clone().unwrap())
        .start(place_odd);
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    let mut said: Vec<_> = letters
        .iter()
        .map(|letter| letter.last_error().unwrap())
        .collect();
    said.sort_unstable();
    let [arguments, key, order] = &said[..] else {
        panic!("{said:#?}")
    };
    assert!(
        arguments.contains("arguments cannot be turned into JSON")
            && arguments.contains("panicked"),
        "{arguments}"
    );
    assert!(key.contains("idempotency key cannot be read"), "{key}");
    assert!(order.contains("its ordering key cannot be read"), "{order}");
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Parcel {
    order_no: String,
    weight: u32,
}

impl Keyed for Parcel {
    fn key(&self) -> String {
        self.order_no.clone()
    }
}

#[idempotent(name = "parcels.send", key = "parcel.order_no")]
async fn send(parcel: Parcel) -> Result<u32, Error> {
    Ok(parcel.weight)
}

#[tokio::test]
async fn a_refused_message_is_a_letter_with_its_key_handler_and_reason() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("parcels"),
    );
    let parcel = |order_no: &str, weight: u32| {
        Message::new(
            "parcels",
            format!(r#"{{"order_no":"{order_no}","weight":{weight}}}"#),
        )
    };
    let consumer = Consumer::new(&idem, queue.clone())
        .name("the consumer")
        .in_flight(1)
        .keyed()
        .start(send);
    queue.push(parcel("A-1", 2).id("m-1"));
    within(queue.until_empty()).await;
    // Other content with the same key; the same with an id per copy; no key; two keys; not a
    // parcel.
    queue.push(parcel("A-1", 3).id("m-2"));
    queue.push(parcel("A-1", 3).id("m-3"));
    queue.push(parcel("", 4).id("m-4"));
    queue.push(parcel("A-2", 5).header(KEY_HEADER, "A-3"));
    queue.push(Message::new("parcels", "{}").id("m-6"));
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    let seen: BTreeSet<_> = letters
        .iter()
        .map(|letter| {
            // The broker's id is followed by a hash.
            let key = letter.key.split(' ').next().unwrap();
            format!("{} {key}: {}", letter.handler, letter.reason)
        })
        .collect();
    let expected = [
        "the consumer m-6: cannot be decoded",
        "parcels.send A-1: key reused",
        "parcels.send m-4: refused",
        "the consumer A-2: refused",
    ];
    assert_eq!(
        (letters.len(), seen),
        (4, expected.map(str::to_owned).into())
    );
    let found = idem
        .dead_letters()
        .list(&Filter::default().key("A-1"))
        .await
        .unwrap();
    assert!(
        found.len() == 1
            && found[0]
                .reused
                .as_ref()
                .is_some_and(idem_runtime::dead_letters::Reused::is_done),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_call_that_exceeds_the_deadline_is_given_back() {
    let (idem, queue) = (
        idem_runtime::testing::temporary().unwrap(),
        Queue::new("orders"),
    );
    let starts = Arc::new(AtomicUsize::new(0));
    queue.publish(order("A-1"));
    let consumer = consumer!(idem, queue, starts, std::future::pending().await);
    within(async {
        while starts.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(consumer.stop(Duration::from_millis(10))).await;
    assert_eq!(queue.waiting() + queue.unacked(), 1);
    let consumer = consumer!(idem, queue, starts, Ok(1));
    within(queue.until_empty()).await;
    assert_eq!(starts.load(Ordering::SeqCst), 2);
    within(consumer.stop(DEADLINE)).await;
}

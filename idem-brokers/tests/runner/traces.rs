//! A trace through deliveries, attempts, replays, redrives and the outbox.

use idem_brokers::testing::Queue;
use idem_brokers::{Consumer, Message, Relay, Source, republish};
use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::testing::{Temporary, temporary};
use idem_runtime::{DeadLetter, Error, Filter, Idem, attempt, idempotent};
use idem_test_support::traces::{SENDER, Spans, TRACE_ID, TRACEPARENT, record};
use idem_test_support::{DEADLINE, within};
use tracing::Instrument;

use crate::{order, place_order};

const NO_PARENT: &str = "0000000000000000";

/// A message of a trace.
fn sent(order_no: &str) -> Message {
    Message::new("orders", order(order_no))
        .header("TraceParent", TRACEPARENT)
        .header("tracestate", "congo=t61rcWkgMzE")
}

fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    let mut headers = message.headers.iter();
    let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value)
}

/// Delivers messages to a handler whose first attempts fail, up to this number.
async fn deliver(idem: &Idem, queue: &Queue, failures: u32) {
    let body = async move || match attempt() {
        Some(attempt) if attempt.number > failures => Ok(1),
        _ => Err(Error::OutsideHandler),
    };
    let consumer = Consumer::new(idem, queue.clone());
    let consumer = consumer.start(move |order_no: String| place_order(body, order_no));
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
}

fn start() -> (Spans, Temporary, Queue) {
    (record(), temporary().unwrap(), Queue::new("orders"))
}

#[tokio::test]
async fn a_delivery_continues_the_trace_of_its_message_and_has_the_attempt_as_its_child() {
    let (spans, idem, queue) = start();
    queue.push(sent("A-1").id("m-17"));
    deliver(&idem, &queue, 1).await;
    // One delivery failed, and the other one did not.
    let deliveries = spans.named("process orders");
    assert_eq!(deliveries.len(), 2, "{deliveries:#?}");
    let attempts = spans.named("idem.attempt");
    for ((delivery, attempt), outcome) in deliveries.iter().zip(&attempts).zip(["failed", "done"]) {
        assert_eq!(
            (delivery.trace(), delivery.parent()),
            (TRACE_ID.into(), SENDER.into())
        );
        assert_eq!(delivery.kind_and_status(), "Consumer Unset");
        assert_eq!(delivery.attribute("messaging.message.id"), "m-17");
        assert_eq!(
            (attempt.trace(), attempt.parent()),
            (delivery.trace(), delivery.id())
        );
        assert_eq!(attempt.attribute("outcome"), outcome);
        assert_eq!(
            attempt.kind_and_status().contains("Error"),
            outcome == "failed"
        );
    }
}

#[idempotent(
    name = "orders.inline",
    key = "order_no",
    retries = 1,
    backoff(initial = "0ms")
)]
async fn inline(order_no: &str) -> Result<u32, Error> {
    match attempt().map(|attempt| attempt.number) {
        Some(1) if order_no != "fine" => Err(Error::OutsideHandler),
        _ => Ok(1),
    }
}

#[tokio::test]
async fn retries_are_siblings_in_the_span_of_their_caller_and_a_replay_links_to_the_run() {
    let (spans, idem, _) = start();
    for name in ["first", "second"] {
        let request = tracing::info_span!("request", otel.name = name);
        let called = idem.scope(inline("A-1")).instrument(request).await;
        assert_eq!(called.unwrap(), 1);
    }
    let (first, second) = (spans.only("first"), spans.only("second"));
    let attempts = spans.named("idem.attempt");
    assert_eq!(attempts.len(), 2, "{attempts:#?}");
    for attempt in &attempts {
        assert_eq!(
            (attempt.trace(), attempt.parent()),
            (first.trace(), first.id())
        );
    }
    let replay = spans.only("idem.replay");
    assert_eq!(
        (replay.trace(), replay.parent()),
        (second.trace(), second.id())
    );
    assert_eq!(replay.links(), [(first.trace(), attempts[1].id())]);
    assert_eq!(replay.attribute("recorded_trace_id"), first.trace());
}

/// The letter of a message of a trace.
async fn dead(idem: &Idem, queue: &Queue) -> DeadLetter {
    queue.push(sent("A-1"));
    deliver(idem, queue, 3).await;
    let letter = idem.dead_letters().list(&Filter::default()).await;
    let letter = letter.unwrap().remove(0);
    assert_eq!(letter.trace.unwrap().trace_id(), TRACE_ID);
    letter
}

#[tokio::test]
async fn a_letter_that_is_run_is_a_new_trace_with_a_link_to_the_old_one() {
    let (spans, idem, queue) = start();
    let letter = dead(&idem, &queue).await;
    idem.register_handler("orders.place", |order_no: String| {
        place_order(async || Ok(7), order_no)
    });
    let request = tracing::info_span!("request of the operator");
    let letters = idem.dead_letters().by("ann");
    let ran = letters.run(&letter.id).instrument(request).await.unwrap();
    assert_eq!(ran, RunOutcome::Done(7.into()));
    let redrive = spans.only("idem.redrive");
    assert_eq!(redrive.parent(), NO_PARENT);
    let last = spans.named("process orders").pop().unwrap();
    assert_eq!(redrive.links(), [(TRACE_ID.to_owned(), last.id())]);
    assert_ne!(redrive.trace(), TRACE_ID);
    let attempt = spans.named("idem.attempt").pop().unwrap();
    assert_eq!(
        (attempt.trace(), attempt.parent()),
        (redrive.trace(), redrive.id())
    );
}

#[tokio::test]
async fn a_letter_that_is_sent_back_carries_the_new_trace() {
    let (spans, idem, queue) = start();
    let letter = dead(&idem, &queue).await;
    republish(&idem, queue.name(), "orders", queue.clone());
    idem.dead_letters()
        .by("ann")
        .republish(&letter.id)
        .await
        .unwrap();
    let redrive = spans.only("idem.redrive");
    let again = queue.until_published(2).await.remove(1);
    assert_eq!(header(&again, "traceparent"), redrive.traceparent());
    assert_eq!(again.headers.len(), 1, "{:?}", again.headers);
    deliver(&idem, &queue, 0).await;
    let delivery = spans.named("process orders").pop().unwrap();
    assert_eq!(
        (delivery.trace(), delivery.parent()),
        (redrive.trace(), redrive.id())
    );
}

#[idempotent(name = "orders.tell", key = "order_no", skip(idem))]
async fn tell(order_no: String, idem: Idem) -> Result<(), Error> {
    let event = || OutboxMessage::new("events", &order_no, order(&order_no));
    idem.outbox().enqueue(event())?;
    idem.outbox()
        .enqueue(event().header("traceparent", "of the user's own"))
}

#[tokio::test]
async fn what_an_attempt_sends_carries_its_trace_to_the_next_consumer() {
    let (spans, idem, orders) = start();
    let events = Queue::new("events");
    orders.push(sent("A-1"));
    let (handle, relay) = (
        Idem::clone(&idem),
        Relay::new(&idem, events.clone()).start(),
    );
    let consumer = Consumer::new(&idem, orders.clone())
        .start(move |order_no: String| tell(order_no, handle.clone()));
    within(orders.until_empty()).await;
    let published = within(events.until_published(2)).await;
    within(consumer.stop(DEADLINE)).await;
    within(relay.stop(DEADLINE)).await;
    let attempt = spans.only("idem.attempt");
    assert_eq!(attempt.trace(), TRACE_ID);
    assert_eq!(header(&published[0], "traceparent"), attempt.traceparent());
    assert_eq!(header(&published[0], "tracestate"), "congo=t61rcWkgMzE");
    assert_eq!(header(&published[1], "traceparent"), "of the user's own");
    deliver(&idem, &events, 0).await;
    let next = spans.named("process events").remove(0);
    assert_eq!(
        (next.trace(), next.parent()),
        (attempt.trace(), attempt.id())
    );
}

#[tokio::test]
async fn a_message_with_rubbish_headers_begins_a_trace() {
    let (spans, idem, queue) = start();
    let twice = sent("A-2").header("traceparent", TRACEPARENT);
    let rubbish = Message::new("orders", order("A-1")).header("traceparent", "\u{1f980}");
    queue.push(rubbish.header("tracestate", "\u{1f980}"));
    queue.push(twice);
    deliver(&idem, &queue, 0).await;
    for delivery in spans.named("process orders") {
        assert_eq!(delivery.parent(), NO_PARENT);
        assert_ne!(delivery.trace(), TRACE_ID);
    }
    assert_eq!(spans.named("idem.attempt").len(), 2);
}

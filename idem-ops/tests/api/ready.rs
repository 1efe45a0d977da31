//! Whether the service can take work, and what waits.

use std::time::Duration;

use idem_ops::monitor::Monitor;
use idem_ops::service::{Service, Stats};
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::testing::ManualClock;

use crate::place::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_ready_while_its_ledger_can_be_written() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let place = Place::open_at(folder.path(), &clock).await;
    let ready = async || place.request("GET", "/readyz", None, None).await;
    let answer = ready().await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "ready\n"));

    place.idem.close().await.unwrap();
    clock.advance(Duration::from_secs(5));
    let answer = ready().await;
    let text = "not ready: the ledger cannot be written\n";
    assert_eq!((answer.status, answer.text.as_str()), (503, text));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_stands_still_is_in_the_way() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let place = Place::open_at(folder.path(), &clock).await;
    let service = Service::read_only(place.idem.clone());
    // A runtime that nothing drives after the start.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let watch = {
        let _entered = runtime.enter();
        Monitor::new(&place.idem, "orders").start().unwrap()
    };
    assert!(service.readiness().await.ready);
    clock.advance(Duration::from_secs(61));
    let readiness = service.readiness().await;
    assert_eq!(
        readiness.problems,
        ["the last check for alerts was 61 s ago"]
    );
    // Without a monitor there is nothing to wait for.
    drop(watch);
    runtime.shutdown_background();
    assert!(service.readiness().await.ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_counted_and_its_age_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    place.bad_orders(1).await;
    let id = place.letter_of("A-000000").await;
    place.idem.dead_letters().redrive(&id).await.unwrap();
    for number in 0..70 {
        let message = OutboxMessage::new("orders.placed", number.to_string(), b"{}".as_slice());
        place.idem.outbox().send(message).await.unwrap();
    }
    // It counts what waits for an attempt.
    place.idem.sweep().await.unwrap();
    let stats: Stats = place.get("/api/v1/stats").await.json();
    let backlog = &stats.backlog;
    assert_eq!((backlog.attempts, backlog.outbox), (Some(1), 70));
    assert!(backlog.oldest_attempt.unwrap() <= backlog.oldest_in_outbox.unwrap());
    assert_eq!(backlog.oldest(), backlog.oldest_attempt);
    let metrics = place.get("/metrics").await.text;
    for name in [
        "idem_messages_waiting ",
        "idem_oldest_message_seconds ",
        "idem_outbox_waiting ",
        "idem_oldest_outbox_message_seconds ",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
}

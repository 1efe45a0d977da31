//! What a body enqueues goes out with its result, or not at all.

use std::time::Duration;

use idem_runtime::ledger::NoteChange;
use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{
    Error, Idem, Origin, attempt, idempotent, ledger::LedgerError, outbox::OutboxMessage,
};

use crate::common::{Oops, on, soon};

async fn keys(idem: &Idem) -> Vec<String> {
    idem.outbox()
        .pending(None, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|queued| queued.message.key)
        .collect()
}

fn event(key: impl Into<String>) -> OutboxMessage {
    OutboxMessage::new("orders.placed", key, "{}")
}

/// Enqueues `events`, then fails its first `fails` attempts.
#[idempotent(
    name = "outbox.place",
    key = "id",
    retries = 2,
    backoff(initial = "0ms"),
    skip(idem)
)]
async fn place(id: &str, events: u32, fails: u32, idem: &Idem) -> Result<u32, Oops> {
    let number = attempt().unwrap().number;
    for event_number in 0..events {
        idem.outbox()
            .enqueue(event(format!("{id}/{number}/{event_number}")))?;
    }
    tokio::task::yield_now().await;
    if number <= fails {
        Err(Oops::own("no stock"))
    } else {
        Ok(number)
    }
}

#[idempotent(name = "outbox.place_sync", key = "id", skip(idem))]
fn place_sync(id: &str, idem: &Idem) -> Result<(), Oops> {
    Ok(idem.outbox().enqueue(event(id))?)
}

#[tokio::test]
async fn messages_carry_the_trace_that_their_delivery_brought() {
    let (idem, state) = (temporary().unwrap(), "congo=t61rcWkgMzE");
    let trace = [
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", state),
    ];
    let origin = trace
        .iter()
        .fold(Origin::new("memory", "orders"), |origin, (name, value)| {
            origin.header(*name, *value)
        });
    let whole = idem.deliver(origin, async {
        place("A", 1, 0, &idem).await.unwrap();
        idem.outbox().send(event("B")).await.unwrap();
        let own = event("C").header("Traceparent", "of the user's own");
        idem.outbox().send(own).await.unwrap();
    });
    whole.await;
    idem.scope(place("D", 1, 0, &idem)).await.unwrap();
    let sent = idem.outbox().pending(None, 10).await.unwrap();
    let headers = |at: usize| {
        let headers = sent[at].message.headers.iter();
        headers
            .map(|(name, value)| (&**name, &**value))
            .collect::<Vec<_>>()
    };
    assert_eq!((headers(0), headers(1)), (trace.to_vec(), trace.to_vec()));
    assert_eq!(headers(2), [("Traceparent", "of the user's own")]);
    assert_eq!(headers(3), [], "no trace was there");
}

#[tokio::test]
async fn messages_go_with_the_result_in_their_order() {
    let idem = temporary().unwrap();
    idem.scope(async {
        place("A", 2, 0, &idem).await.unwrap();
        place("B", 1, 0, &idem).await.unwrap();
        place_sync("C", &idem).unwrap();
        // Replays enqueue nothing.
        place("A", 2, 0, &idem).await.unwrap();
        place_sync("C", &idem).unwrap();
    })
    .await;
    assert_eq!(keys(&idem).await, ["A/1/0", "A/1/1", "B/1/0", "C"]);
    let all = idem.outbox().pending(None, 100).await.unwrap();
    let rest = idem.outbox().pending(Some(&all[1]), 1).await.unwrap();
    assert_eq!(rest, [all[2].clone()]);
    idem.outbox()
        .acknowledge(&[all[0].clone(), all[2].clone()])
        .await
        .unwrap();
    assert_eq!(keys(&idem).await, ["A/1/1", "C"]);
}

#[tokio::test]
async fn a_failed_attempt_sends_nothing() {
    let idem = temporary().unwrap();
    idem.scope(async {
        assert_eq!(place("A", 1, 1, &idem).await.unwrap(), 2);
        place("B", 1, 9, &idem).await.unwrap_err().into_own();
    })
    .await;
    assert_eq!(
        keys(&idem).await,
        ["A/2/0"],
        "only of the attempt that made it"
    );
}

#[idempotent(name = "outbox.nested", key = "id", skip(idem))]
async fn nested(id: &str, idem: &Idem) -> Result<(), Oops> {
    idem.outbox().enqueue(event(format!("outer {id}")))?;
    place(id, 1, 9, idem).await.unwrap_err();
    idem.outbox().enqueue(event(format!("outer {id} again")))?;
    Ok(())
}

#[tokio::test]
async fn each_body_has_its_own() {
    let idem = temporary().unwrap();
    idem.scope(nested("A", &idem)).await.unwrap();
    assert_eq!(keys(&idem).await, ["outer A", "outer A again"]);
}

fn find(id: &str, idem: &Idem) -> Result<Option<u32>, Oops> {
    idem.outbox().enqueue(event(id))?;
    Ok(Some(7))
}

#[idempotent(name = "outbox.found", key = "id", existing = find, skip(idem))]
fn found(id: &str, idem: &Idem) -> Result<u32, Oops> {
    unreachable!("{id} exists, {idem:?}")
}

#[tokio::test]
async fn what_exists_may_send_too() {
    let idem = temporary().unwrap();
    assert_eq!(idem.sync_scope(|| found("A", &idem)).unwrap(), 7);
    assert_eq!(keys(&idem).await, ["A"]);
}

#[idempotent(name = "outbox.spawned", key = "id", skip(idem))]
async fn spawned(id: &str, idem: &Idem) -> Result<(), Oops> {
    let (key, idem) = (id.to_owned(), idem.clone());
    Ok(
        tokio::spawn(async move { idem.outbox().enqueue(event(key)) })
            .await
            .unwrap()?,
    )
}

#[tokio::test]
async fn outside_a_body_it_is_said_what_to_do() {
    let (idem, other) = (temporary().unwrap(), temporary().unwrap());
    let refused = idem.outbox().enqueue(event("A")).unwrap_err();
    assert!(matches!(refused, Error::OutsideHandler), "{refused:?}");
    assert!(refused.to_string().contains("send(…)"), "{refused}");
    let refused = idem
        .scope(spawned("B", &idem))
        .await
        .unwrap_err()
        .into_idem();
    assert!(matches!(refused, Error::OutsideHandler), "{refused:?}");
    // The outbox of another Idem does not go with this one's result.
    let refused = idem
        .scope(place("C", 1, 0, &other))
        .await
        .unwrap_err()
        .into_idem();
    assert!(matches!(refused, Error::OutsideHandler), "{refused:?}");
    assert!(keys(&idem).await.is_empty() && keys(&other).await.is_empty());

    let filled = idem.outbox().changed();
    idem.outbox().send(event("D")).await.unwrap();
    soon(filled).await;
    assert_eq!(keys(&idem).await, ["D"]);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_before_anything_is_recorded() {
    let idem = temporary().unwrap();
    let huge = OutboxMessage::new("orders.placed", "A", vec![b'x'; 2 << 20]);
    let refused = idem.outbox().send(huge).await.unwrap_err();
    assert!(
        matches!(refused, Error::OutboxMessageTooLarge { size, .. } if size > 2 << 20),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("`orders.placed`"), "{refused}");
    assert!(keys(&idem).await.is_empty());
}

#[tokio::test]
async fn order_outlives_a_restart_and_a_clock_that_steps_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    clock.advance(Duration::from_secs(1000));
    let open = |clock: &ManualClock| {
        Idem::builder()
            .clock(std::sync::Arc::new(clock.clone()))
            .open(folder.path())
            .unwrap()
    };
    let idem = open(&clock);
    for key in ["A", "B"] {
        idem.outbox().send(event(key)).await.unwrap();
    }
    idem.close().await.unwrap();
    drop(idem);
    let idem = open(&ManualClock::default());
    for key in ["C", "D"] {
        idem.outbox().send(event(key)).await.unwrap();
    }
    assert_eq!(keys(&idem).await, ["A", "B", "C", "D"]);
}

#[tokio::test]
async fn headers_and_lanes_come_back_as_they_were() {
    let idem = on(&ManualClock::default());
    let message = OutboxMessage::json("orders", "A-1", &("é", 7))
        .unwrap()
        .ordering_key("customer")
        .header("x", "ÿ");
    let id = idem.outbox().send(message.clone()).await.unwrap();
    let queued = idem.outbox().pending(None, 1).await.unwrap().remove(0);
    assert_eq!((queued.id, queued.message), (id, message));
}

/// A folder of an older version holds messages under the time they were sealed at.
#[tokio::test]
async fn what_an_older_version_left_goes_out_first() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    let notes = idem.notes();
    for (key, place) in [
        ("B", "outbox/18a0c6ebd1f2a0017fffffff"),
        ("A", "outbox/18a0c6ebd1f2a0000000002a"),
    ] {
        idem.outbox().send(event(key)).await.unwrap();
        let new = notes.list("outbox/~", None, 1).await.unwrap().remove(0);
        notes
            .write(vec![
                NoteChange::delete(new.key),
                NoteChange::put(place, new.value),
            ])
            .await
            .unwrap();
    }
    idem.outbox().send(event("C")).await.unwrap();
    idem.close().await.unwrap();
    drop(idem);
    let idem = Idem::open(folder.path()).unwrap();
    idem.outbox().send(event("D")).await.unwrap();
    assert_eq!(keys(&idem).await, ["A", "B", "C", "D"]);
    let all = idem.outbox().pending(None, 10).await.unwrap();
    assert_eq!(
        idem.outbox().pending(Some(&all[1]), 10).await.unwrap(),
        all[2..]
    );
    idem.outbox().acknowledge(&all[..3]).await.unwrap();
    assert_eq!(keys(&idem).await, ["D"]);
}

/// A person removed the witness of a ledger whose journal, with its last number, is gone.
#[tokio::test]
async fn without_its_witness_a_ledger_numbers_on_from_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    let ahead = "jobs/~00000000000fffff".to_owned();
    idem.notes()
        .write(vec![NoteChange::put(&*ahead, "1")])
        .await
        .unwrap();
    idem.close().await.unwrap();
    drop(idem);
    std::fs::remove_file(folder.path().join("witness")).unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    idem.notes()
        .write(vec![NoteChange::put("jobs/~", "2")])
        .await
        .unwrap();
    let all = idem.notes().list("jobs/", None, 10).await.unwrap();
    assert_eq!((all.len(), &all[0].key), (2, &ahead), "{all:?}");
}

/// How much sled has put into files of its own, which nothing syncs.
fn blobs(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder.join("sled/blobs")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_note_with_a_key_that_is_too_long_is_refused_and_makes_no_file_beside_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    for (number, length) in [201, 4 << 10, 200 << 10].into_iter().enumerate() {
        let key = format!("reports/{number}/{}", "x".repeat(length - 10));
        let refused = idem
            .notes()
            .write(vec![NoteChange::put(key, [7])])
            .await
            .unwrap_err();
        assert!(matches!(
            &refused,
            LedgerError::KeyTooLong { limit: 200, .. }
        ));
        let text = refused.to_string();
        assert!(
            text.contains(&format!("`reports/{number}/xx"))
                && text.contains(&format!("{length} bytes")),
            "{text}"
        );
        let refused = idem.issuer("x".repeat(length)).issue().await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Ledger {
                    source: LedgerError::KeyTooLong { .. },
                    ..
                }
            ),
            "{refused:?}"
        );
    }
    let full: Vec<_> = (0..2000)
        .map(|number| NoteChange::put(format!("{number:0200}"), [7]))
        .collect();
    idem.notes().write(full).await.unwrap();
    assert_eq!(idem.notes().list("", None, 3000).await.unwrap().len(), 2000);
    idem.close().await.unwrap();
    assert_eq!(blobs(folder.path()), 0);
}

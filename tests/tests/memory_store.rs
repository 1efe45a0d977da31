//! What the store in memory shows to a test, and what the unreliable one breaks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::poll_immediate;
use idem_runtime::ledger::shared::{
    Runner, Store, StoreError, StoreErrorKind, StoreTransaction, Write,
};
use idem_runtime::protocol::{DeadLetterId, Record, RecordId, Settled, Settlement};
use idem_runtime::testing::{ManualClock, MemoryStore, StoreCall, StoreFault, UnreliableStore};
use jiff::Timestamp;

const LEASE: Duration = Duration::from_secs(30);

/// A store, its clock, and a runner that lives.
async fn store() -> (MemoryStore, ManualClock, Runner) {
    let clock = ManualClock::default();
    let (store, runner) = (
        MemoryStore::new(Arc::new(clock.clone())),
        Runner::from("one"),
    );
    store.beat(&runner, LEASE, 0).await.unwrap();
    (store, clock, runner)
}

fn id(key: &str) -> RecordId {
    RecordId::new("stores", key)
}

fn write(key: &str, expected: Option<u64>, version: u64) -> Write {
    let end = Settlement::Dead(DeadLetterId::from_bytes([1; 16]));
    let record = Settled::new(1, Timestamp::UNIX_EPOCH, LEASE, 1, end);
    Write {
        record: Some(Record::Settled(record).encode().unwrap()),
        ..Write::new(id(key), expected, version)
    }
}

async fn version(store: &impl Store, key: &str) -> Option<u64> {
    let rows = store.read(vec![id(key)]).await.unwrap();
    let row = rows.rows.into_iter().next().unwrap().unwrap();
    row.map(|row| row.version)
}

fn kind<T>(result: Result<T, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind)
}

#[tokio::test]
async fn a_connection_hears_what_the_others_write() {
    let (store, _, runner) = store().await;
    let other = store.clone();
    let first = vec![write("A", None, 1), write("B", None, 2)];
    store.write(&runner, first).await.unwrap();
    let second = vec![write("A", None, 3), write("B", Some(2), 4)];
    store.write(&runner, second).await.unwrap();
    let changed = [other.changed().await, other.changed().await];
    assert_eq!(changed, [vec![id("A"), id("B")], vec![id("B")]]);
    assert!(poll_immediate(Box::pin(store.changed())).await.is_none());
    let calls = store.calls();
    assert_eq!((calls.writes, calls.rows_written, calls.largest), (2, 4, 2));
}

#[tokio::test]
async fn a_record_that_is_spoilt_cannot_be_read() {
    let (store, _, runner) = store().await;
    let both = vec![write("A", None, 1), write("B", None, 2)];
    store.write(&runner, both).await.unwrap();
    assert!(store.spoil(&id("A")) && !store.spoil(&id("never")));
    let rows = store.read(vec![id("A"), id("B")]).await.unwrap().rows;
    assert!(rows[0].is_err() && rows[1].is_ok());
}

#[tokio::test]
async fn rows_of_the_tests_own_are_committed_with_the_others() {
    let (store, _, runner) = store().await;
    let mut dropped = store.begin().await.unwrap();
    dropped.put("order", *b"0");
    drop(dropped);
    assert_eq!(store.row("order"), None);

    let mut first = store.begin().await.unwrap();
    let mut second = store.begin().await.unwrap();
    first.put("order", *b"1");
    second.put("other", *b"2");
    assert_eq!(
        (first.get("order"), second.get("order")),
        (Some(b"1".to_vec()), None)
    );
    assert!(first.write(&runner, write("A", None, 2)).await.unwrap());
    first.commit().await.unwrap();
    // What it read was changed.
    assert_eq!(kind(second.commit().await), Some(StoreErrorKind::Away));
    assert_eq!(store.row("order"), Some(b"1".to_vec()));
    assert_eq!(
        (store.row("other"), version(&store, "A").await),
        (None, Some(2))
    );
}

/// A future that does not end until the clock moves.
async fn late<T>(clock: &ManualClock, by: Duration, future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    assert!(poll_immediate(future.as_mut()).await.is_none());
    clock.advance(by);
    future.await
}

#[tokio::test]
async fn each_fault_is_what_it_says() {
    let (inner, clock, runner) = store().await;
    let store = UnreliableStore::new(inner.clone(), clock.clone());
    let mut last = None;
    let mut next = async |fault, takes_place: bool, expected| {
        store.next(StoreCall::Write, fault);
        let number = last.unwrap_or(0) + 1;
        let writing = store.write(&runner, vec![write("A", last, number)]);
        let answer = match fault {
            StoreFault::LateAnswer(by) => late(&clock, by, writing).await,
            _ => writing.await,
        };
        assert_eq!(kind(answer), expected, "{fault:?}");
        let written = version(&inner, "A").await;
        assert_eq!(
            written,
            if takes_place { Some(number) } else { last },
            "{fault:?}"
        );
        last = written;
    };
    let (soon, lost) = (Duration::from_secs(1), Some(StoreErrorKind::Lost));
    next(StoreFault::Away, false, Some(StoreErrorKind::Away)).await;
    next(StoreFault::Refused, false, Some(StoreErrorKind::Refused)).await;
    next(StoreFault::LostRequest, false, lost).await;
    next(StoreFault::Lost, true, lost).await;
    next(StoreFault::LateAnswer(soon), true, None).await;
    next(StoreFault::LateRequest(soon), false, lost).await;
    // It takes place now, and the row is as it expected.
    let late = inner.clone();
    let changed = tokio::spawn(async move {
        while !late.changed().await.contains(&id("A")) {}
        version(&late, "A").await
    });
    tokio::task::yield_now().await;
    clock.advance(soon);
    assert_eq!(changed.await.unwrap(), Some(3));

    store.next(StoreCall::Write, StoreFault::OtherAnswer);
    let written = store
        .write(&runner, vec![write("A", Some(3), 4)])
        .await
        .unwrap();
    assert!(!written.versions.contains(&4));
    store.next_well(StoreCall::Read);
    store.next(StoreCall::Read, StoreFault::Silent);
    assert_eq!(version(&store, "A").await, Some(4));
    assert!(
        poll_immediate(Box::pin(version(&store, "A")))
            .await
            .is_none()
    );
    store.refuse(id("B"));
    let both = vec![write("A", Some(4), 5), write("B", None, 6)];
    assert_eq!(
        kind(store.write(&runner, both).await),
        Some(StoreErrorKind::Refused)
    );
    store.always(StoreCall::Beat, StoreFault::Away);
    for _ in 0..3 {
        assert_eq!(
            kind(store.beat(&runner, LEASE, 0).await),
            Some(StoreErrorKind::Away)
        );
    }
    store.mend();
    store.beat(&runner, LEASE, 0).await.unwrap();
    store
        .write(&runner, vec![write("B", None, 6)])
        .await
        .unwrap();
}

#[tokio::test]
async fn at_random_a_caller_that_asks_again_comes_through() {
    let (inner, clock, runner) = store().await;
    let store = UnreliableStore::at_random(inner, clock.clone(), 7);
    let (mut faults, mut last) = (0, None);
    for number in 1..200 {
        for tries in 0.. {
            assert!(tries < 4, "four faults in a row");
            let written = store.write(&runner, vec![write("A", last, number)]).await;
            if version_of(&store, "A").await >= Some(number) {
                faults += u32::from(written.is_err());
                break;
            }
            faults += 1;
        }
        last = Some(number);
    }
    assert!(faults > 20, "{faults}");
}

/// Reads until it gets through.
async fn version_of(store: &impl Store, key: &str) -> Option<u64> {
    loop {
        if let Ok(rows) = store.read(vec![id(key)]).await {
            let row = rows.rows.into_iter().next().unwrap().unwrap();
            return row.map(|row| row.version);
        }
    }
}

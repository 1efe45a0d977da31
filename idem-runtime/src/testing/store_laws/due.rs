//! Laws of what is due.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::Subject;
use super::member::{LEASE, Member, live, put, without_record};
use crate::clock::{Clock, after};
use crate::ledger::Waiting;
use crate::ledger::shared::Store;

async fn due<S: Store>(of: &Member<S>) -> Vec<String> {
    let ids = of.store.due(usize::MAX).await.unwrap();
    let mut keys: Vec<_> = ids.iter().map(|id| id.key.to_string()).collect();
    keys.sort();
    keys
}

/// A row is due when its time has come and its record is live.
pub async fn a_live_row_is_due_by_its_time<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let now = on.clock.now();
    let soon = after(now, LEASE);
    one.write([
        live("now", None, 1).due(now),
        live("soon", None, 2).due(soon),
        live("last", None, 3).due(Timestamp::MAX),
        live("never", None, 4),
        put("settled", None, 5).due(now),
        without_record("empty", None, 6).due(now),
    ])
    .await;
    assert_eq!(due(&other).await, ["now"]);
    on.clock.advance(LEASE - Duration::from_millis(1));
    assert_eq!(due(&other).await, ["now"]);
    on.clock.advance(Duration::from_millis(1));
    assert_eq!(due(&other).await, ["now", "soon"]);
    // What is written again is due by what was written last.
    one.write([live("now", Some(1), 7).due(after(soon, LEASE))])
        .await;
    one.write([put("soon", Some(2), 8).due(now)]).await;
    assert!(due(&other).await.is_empty());
}

/// A row is due when its owner's lease has ended, or its owner is dead, as long as it owns the row.
pub async fn a_live_row_is_due_when_its_owner_is_late_or_dead<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    one.write([
        live("A", None, 1).owned_by(&one.runner),
        live("B", None, 2).owned_by(&one.runner),
        live("C", None, 3).owned_by(&one.runner),
    ])
    .await;
    one.write([put("B", Some(2), 4)]).await;
    other
        .write([live("D", None, 5).owned_by(&other.runner)])
        .await;
    assert!(due(&other).await.is_empty());
    on.clock.advance(LEASE);
    other.beat().await.unwrap();
    assert_eq!(due(&other).await, ["A", "C"], "its owner is late");
    one.beat().await.unwrap();
    assert!(due(&other).await.is_empty(), "its owner lives");
    assert!(other.store.retire(&one.runner, None).await.unwrap());
    assert_eq!(due(&other).await, ["A", "C"], "its owner is dead");
    let taken = live("A", Some(1), 6).owned_by(&other.runner);
    other.write([taken]).await;
    assert_eq!(due(&other).await, ["C"]);
}

/// The rows that wait are counted, as they were written last, and the oldest message among them tells.
pub async fn rows_that_wait_are_counted<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let now = on.clock.now();
    let later = after(now, LEASE);
    let counted = async || other.store.waiting().await.unwrap();
    assert_eq!(counted().await, Waiting::default());
    one.write([
        live("runs", None, 1).owned_by(&one.runner),
        live("A", None, 2).waiting(later).due(later),
        live("B", None, 3).waiting(now),
    ])
    .await;
    assert_eq!(counted().await, Waiting::new(2, Some(now)));
    one.write([
        live("B", Some(3), 4).owned_by(&one.runner),
        live("runs", Some(1), 5).waiting(later),
    ])
    .await;
    assert_eq!(counted().await, Waiting::new(2, Some(later)));
    one.write([put("A", Some(2), 6)]).await;
    one.write([put("runs", Some(5), 7)]).await;
    assert_eq!(counted().await, Waiting::default());
}

/// No more rows come than were asked for. What was swept makes room for the others.
pub async fn rows_that_are_due_come_by_the_page<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let now = on.clock.now();
    let rows = (1..=10).map(|number| live(&number.to_string(), None, number).due(now));
    one.try_write(rows.collect()).await.unwrap();
    assert!(one.store.due(0).await.unwrap().is_empty());
    let mut seen = BTreeSet::new();
    // A page may hold what the one before held, while that is due.
    while !due(&one).await.is_empty() {
        let page = one.store.due(3).await.unwrap();
        assert!(page.len() <= 3, "{page:?}");
        for id in page {
            let number: u64 = id.key.parse().unwrap();
            assert!(seen.insert(number), "{number} is not due any more");
            one.write([put(&id.key, Some(number), 100 + number)]).await;
        }
    }
    assert_eq!(seen.len(), 10);
}

/// A row is removed when its time has come, unless its record is live; no more of them than were
/// asked for.
pub async fn only_what_is_due_and_not_live_is_removed<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let (now, soon) = (on.clock.now(), after(on.clock.now(), LEASE));
    let rows = (1..=5).map(|number| put(&number.to_string(), None, number).due(now));
    one.try_write(rows.collect()).await.unwrap();
    one.write([
        live("live", None, 11).due(now),
        live("held", None, 12).due(now).owned_by(&one.runner),
        put("soon", None, 13).due(soon),
        put("never", None, 14),
        without_record("empty", None, 15).due(now),
        without_record("empty soon", None, 16).due(soon),
        put("last", None, 17).due(Timestamp::MAX),
    ])
    .await;
    let remove = async |limit| other.store.remove_due(limit).await.unwrap();
    assert_eq!(remove(0).await, 0);
    assert_eq!(
        (remove(4).await, remove(4).await, remove(4).await),
        (4, 2, 0)
    );
    assert_eq!(one.versions(["1", "5", "empty"]).await, [None; 3]);
    let kept = ["live", "held", "soon", "never", "empty soon", "last"];
    assert!(one.versions(kept).await.iter().all(Option::is_some));
    on.clock.advance(LEASE);
    assert_eq!(remove(usize::MAX).await, 2);
    assert_eq!(one.versions(["soon", "empty soon"]).await, [None; 2]);
    // Where the row was, there may be another one.
    assert_eq!(one.write([live("empty", None, 18)]).await, [18]);
}

//! Laws of what only grows: numbers, time, and what was answered.

use std::time::Duration;

use jiff::SignedDuration;

use super::Subject;
use super::member::{LEASE, Member, letter, live, put};
use crate::ledger::shared::{Owner, Store};

/// Numbers begin with 1 and grow, whichever process reserves them, also after all have gone.
pub async fn numbers_grow_across_processes_and_openings<S: Store>(on: Subject<S>) {
    let mut end = 1;
    for opening in 0..3 {
        let members = (on.member("one").await, on.member("two").await);
        for (by, count) in [(&members.0, 1), (&members.1, 1_000), (&members.0, 7)] {
            let first = by.store.reserve(count).await.unwrap();
            assert!(first >= end, "{first} after {end}");
            assert!(opening > 0 || end > 1 || first == 1, "{first}");
            end = first + count;
        }
        members.0.store.close().await;
        members.1.store.close().await;
    }
    let (one, other) = (on.member("one").await, on.member("two").await);
    let mut firsts = Vec::new();
    for _ in 0..20 {
        let (there, back) = tokio::join!(one.store.reserve(10), other.store.reserve(10));
        firsts.extend([there.unwrap(), back.unwrap()]);
    }
    firsts.push(end - 10);
    firsts.sort_unstable();
    let apart = firsts.windows(2).all(|two| two[1] - two[0] >= 10);
    assert!(apart, "blocks do not meet: {firsts:?}");
}

/// What was answered is there when the store is opened again.
pub async fn what_was_answered_is_there_after_a_reopening<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let letter = letter(1, "laws", "B");
    let claim = live("A", None, 1).owned_by(&one.runner);
    one.write([
        claim,
        put("B", None, 2).opens(letter.clone()).note("n/~", ""),
    ])
    .await;
    one.store.retire(&one.runner, None).await.unwrap();
    one.store.close().await;
    drop(one);
    let two = on.member("two").await;
    let [a, b] = two.rows(["A", "B"]).await.map(Option::unwrap);
    assert_eq!((a.version, a.owner, b.version), (1, Owner::Dead, 2));
    assert_eq!(two.store.letter(letter.id).await.unwrap(), Some(letter));
    assert_eq!(two.notes("n/").await.len(), 1);
}

/// When the store's clock is set back, its time goes on from where it was.
pub async fn time_does_not_go_back<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let now = async |of: &Member<S>| of.store.read(Vec::new()).await.unwrap().now;
    one.write([live("A", None, 1).owned_by(&one.runner)]).await;
    on.clock.advance(LEASE / 2);
    let mut last = now(&one).await;
    on.clock.set(last - SignedDuration::from_hours(1));
    for by in [Duration::ZERO, LEASE / 4, LEASE / 4] {
        on.clock.advance(by);
        let written = one.store.write(&one.runner, Vec::new());
        let times = [
            // The process that was told the latest time may have to pass it on.
            now(&one).await,
            written.await.unwrap().now,
            now(&other).await,
            other.beat().await.unwrap(),
            now(&on.member("three").await).await,
        ];
        let passed = times.map(|time| time.duration_since(last));
        // It does not stand still until the clock has caught up.
        let least = SignedDuration::try_from(by).unwrap();
        assert!(passed.iter().all(|passed| *passed >= least), "{passed:?}");
        last = times[4];
    }
    let lease = other.lease_of("A").await;
    assert!(lease.is_some_and(|until| until <= last), "it has ended");
    assert!(other.store.retire(&one.runner, lease).await.unwrap());
}

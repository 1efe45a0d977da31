//! Laws of runners and their leases.

use super::Subject;
use super::member::{LEASE, kind, live, put};
use crate::clock::{Clock, after};
use crate::ledger::shared::{Owner, Runner, Store, StoreErrorKind};

const DEAD: Option<StoreErrorKind> = Some(StoreErrorKind::RunnerDead);

/// Nothing takes place in the name of a runner that never beat.
pub async fn a_runner_that_is_not_known_writes_nothing<S: Store>(on: Subject<S>) {
    let known = on.member("known").await;
    known.write([put("A", None, 1)]).await;
    let unknown = Runner::from("unknown");
    let writes = vec![put("A", Some(1), 2), put("B", None, 3).note("n/1", "1")];
    assert_eq!(kind(known.store.write(&unknown, writes).await), DEAD);
    assert_eq!(known.versions(["A", "B"]).await, [Some(1), None]);
    assert!(known.notes("").await.is_empty());
}

/// Nothing takes place in the name of a dead runner, and its claims are nobody's.
pub async fn a_dead_runner_writes_nothing<S: Store>(on: Subject<S>) {
    let (dead, other) = (on.member("dead").await, on.member("other").await);
    let claim = live("A", None, 1).owned_by(&dead.runner);
    dead.write([claim.clone()]).await;
    assert!(other.store.retire(&dead.runner, None).await.unwrap());
    let [row] = other.rows(["A"]).await;
    assert_eq!(row.unwrap().owner, Owner::Dead);
    let writes = vec![put("A", Some(1), 2), put("B", None, 3).note("n/1", "1")];
    assert_eq!(kind(dead.try_write(writes).await), DEAD);
    assert_eq!(other.versions(["A", "B"]).await, [Some(1), None]);
    assert!(other.notes("").await.is_empty());
    // The others go on.
    assert_eq!(other.write([put("A", Some(1), 4)]).await, [4]);
}

/// A runner that was marked dead stays so, also if it never beat before.
pub async fn a_beat_does_not_revive_a_dead_runner<S: Store>(on: Subject<S>) {
    let (dead, other) = (on.member("dead").await, on.member("other").await);
    assert!(other.store.retire(&dead.runner, None).await.unwrap());
    assert_eq!(kind(dead.beat().await), DEAD);
    assert_eq!(kind(dead.try_write(vec![put("A", None, 1)]).await), DEAD);
    for until in [None, Some(on.clock.now())] {
        let unborn = Runner::from(format!("unborn {until:?}"));
        assert!(other.store.retire(&unborn, until).await.unwrap());
        assert_eq!(kind(other.store.beat(&unborn, LEASE, 1).await), DEAD);
    }
    other.beat().await.unwrap();
}

/// A lease counts from the last beat, by the store's clock.
pub async fn a_lease_counts_from_the_last_beat<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    one.write([live("A", None, 1).owned_by(&one.runner)]).await;
    for _ in 0..2 {
        on.clock.advance(LEASE / 3);
        let now = one.beat().await.unwrap();
        assert_eq!(now, on.clock.now());
        assert_eq!(other.lease_of("A").await, Some(after(now, LEASE)));
    }
}

/// A runner is marked dead only if its lease is as it was read, and has ended.
pub async fn a_runner_is_retired_by_the_lease_that_was_read<S: Store>(on: Subject<S>) {
    let (late, other) = (on.member("late").await, on.member("other").await);
    late.write([live("A", None, 1).owned_by(&late.runner)])
        .await;
    let retire = async |until| other.store.retire(&late.runner, until).await.unwrap();
    let first = other.lease_of("A").await;
    assert!(!retire(first).await, "its lease has not ended");
    on.clock.advance(LEASE);
    late.beat().await.unwrap();
    on.clock.advance(LEASE);
    assert!(!retire(first).await, "it has beaten since");
    let last = other.lease_of("A").await;
    assert!(last.is_some(), "it was not marked dead");
    assert!(retire(last).await);
    assert!(retire(last).await, "it is dead already");
    assert_eq!(other.lease_of("A").await, None);
    assert_eq!(kind(late.beat().await), DEAD);
}

/// Without a lease to compare, a runner is marked dead.
pub async fn a_runner_is_retired_whatever_its_lease<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    one.write([live("A", None, 1).owned_by(&one.runner)]).await;
    assert!(other.store.retire(&one.runner, None).await.unwrap());
    assert_eq!(other.lease_of("A").await, None);
}

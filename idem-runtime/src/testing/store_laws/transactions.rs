//! Laws of transactions. They hold for a store that has them.

use super::Subject;
use super::member::{Begun, kind, letter, live, put};
use crate::ledger::shared::{Store, StoreErrorKind, Write};

/// Nothing of a transaction can be read before its commit, and all of it after.
pub async fn a_transaction_is_committed_whole<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    one.write([live("A", None, 1).owned_by(&one.runner)]).await;
    let Some(mut transaction) = one.begin().await else {
        return;
    };
    let letter = letter(1, "laws", "A");
    let write = put("A", Some(1), 2).opens(letter.clone()).note("n/1", "1");
    assert!(transaction.write(write).await.unwrap());
    assert_eq!(other.versions(["A"]).await, [Some(1)]);
    assert_eq!(other.store.letter(letter.id).await.unwrap(), None);
    assert!(other.notes("").await.is_empty());
    // Others are not kept waiting.
    assert_eq!(other.write([put("B", None, 3)]).await, [3]);
    other.beat().await.unwrap();
    one.beat().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(other.versions(["A"]).await, [Some(2)]);
    assert_eq!(other.store.letter(letter.id).await.unwrap(), Some(letter));
    assert_eq!(other.notes("n/").await, [("n/1".to_owned(), b"1".to_vec())]);
}

/// Nothing of a transaction that is dropped takes place, and its row is free.
pub async fn a_dropped_transaction_leaves_nothing<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let Some(mut transaction) = one.begin().await else {
        return;
    };
    let letter = letter(1, "laws", "A");
    let write = put("A", None, 1).opens(letter.clone()).note("n/~", "1");
    assert!(transaction.write(write).await.unwrap());
    drop(transaction);
    assert_eq!(other.write([put("A", None, 2)]).await, [2]);
    assert_eq!(other.store.letter(letter.id).await.unwrap(), None);
    assert!(other.notes("").await.is_empty());
}

/// A transaction may write a row again, by the version that it gave to it.
pub async fn a_transaction_sees_its_own_writes<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let Some(mut transaction) = one.begin().await else {
        return;
    };
    let claim = live("A", None, 1).owned_by(&one.runner);
    let writes = [
        (claim, true),
        (put("A", None, 2), false),
        (put("A", Some(1), 3).note("n/1", "1"), true),
        (put("B", Some(1), 4), false),
        (put("B", None, 5), true),
    ];
    for (write, as_expected) in writes {
        let version = write.version;
        assert_eq!(
            transaction.write(write).await.unwrap(),
            as_expected,
            "{version}"
        );
    }
    transaction.commit().await.unwrap();
    assert_eq!(one.versions(["A", "B"]).await, [Some(3), Some(5)]);
    assert_eq!(one.note_keys("").await, ["n/1"]);
}

/// A write whose row or letter is not as expected does not take place, and leaves the transaction
/// as it was.
pub async fn a_transaction_compares_what_it_writes<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let Some(mut transaction) = one.begin().await else {
        return;
    };
    other.write([put("A", None, 1)]).await;
    let lost = [
        put("A", None, 2).note("n/~", "lost"),
        put("A", Some(9), 10).note("n/~", "lost"),
        put("B", None, 11).changes(letter(1, "laws", "B")),
    ];
    for write in lost {
        let version = write.version;
        assert!(!transaction.write(write).await.unwrap(), "{version}");
    }
    let won = put("A", Some(1), 12).note("n/1", "won");
    assert!(transaction.write(won).await.unwrap());
    transaction.commit().await.unwrap();
    assert_eq!(other.versions(["A", "B"]).await, [Some(12), None]);
    assert_eq!(other.note_keys("").await, ["n/1"]);
}

/// Of two transactions that write a row one is committed, and so it is of a transaction and a batch.
pub async fn of_two_transactions_of_a_row_one_is_committed<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let ends = async |mut transaction: Begun<'_, S>, write: Write| {
        let committed = match transaction.write(write).await {
            Ok(true) => transaction.commit().await.map(|()| true),
            answer => answer,
        };
        let Ok(committed) = committed else {
            assert_eq!(kind(committed), Some(StoreErrorKind::Away));
            return false;
        };
        committed
    };
    let mut expected = None;
    for version in [10, 20, 30, 40] {
        let (Some(mut first), Some(second)) = (one.begin().await, other.begin().await) else {
            return;
        };
        let write = put("A", expected, version).note("n/~", "first");
        assert!(first.write(write).await.unwrap());
        // The second may have to wait for the first.
        let write = put("A", expected, version + 1).note("n/~", "second");
        let (second, first) = if version < 30 {
            tokio::join!(ends(second, write), first.commit())
        } else {
            drop(second);
            let batch = async { !other.write([write]).await.is_empty() };
            tokio::join!(batch, first.commit())
        };
        assert_eq!(first.is_ok(), !second, "one of them is committed");
        expected = Some(version + u64::from(second));
        assert_eq!(one.versions(["A"]).await, [expected]);
    }
    assert_eq!(one.notes("n/").await.len(), 4);
}

/// A dead runner writes nothing in a transaction. One that was marked dead after it wrote may commit
/// what nobody else can write meanwhile.
pub async fn a_dead_runner_writes_nothing_in_a_transaction<S: Store>(on: Subject<S>) {
    let (dead, other) = (on.member("dead").await, on.member("other").await);
    let (Some(mut written), Some(mut late)) = (dead.begin().await, dead.begin().await) else {
        return;
    };
    let write = put("A", None, 1).note("n/1", "1");
    assert!(written.write(write).await.unwrap());
    assert!(other.store.retire(&dead.runner, None).await.unwrap());
    let dead = Some(StoreErrorKind::RunnerDead);
    assert_eq!(kind(late.write(put("B", None, 2)).await), dead);
    drop(late);
    let committed = written.commit().await;
    let version = committed.is_ok().then_some(1);
    assert!(committed.is_ok() || kind(committed) == dead);
    assert_eq!(other.versions(["A", "B"]).await, [version, None]);
    assert_eq!(other.notes("").await.len(), version.iter().len());
    assert_eq!(other.write([put("A", version, 3)]).await, [3]);
}

//! Laws of rows and of the batches that write them.

use super::Subject;
use super::member::{LEASE, id, letter, live, put, without_record};
use crate::clock::{Clock, after};
use crate::ledger::shared::{Owner, Row, Store, Write};
use crate::protocol::Record;

/// Rows come in the order of the ids, with what was written and the store's time.
pub async fn a_row_is_read_as_it_was_written<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let due = after(on.clock.now(), LEASE);
    let claim = live("A", None, 1).owned_by(&one.runner).due(due);
    let (settled, empty) = (put("B", None, 2), without_record("C", None, 3).due(due));
    let row = |write: &Write, owner| {
        let record = write.record.as_deref().map(Record::decode);
        Some(Row {
            version: write.version,
            record: record.transpose().unwrap(),
            due: write.due,
            owner,
        })
    };
    let lease = after(on.clock.now(), LEASE);
    let expected = [
        row(&empty, Owner::None),
        None,
        row(&claim, Owner::Until(one.runner.clone(), lease)),
        row(&settled, Owner::None),
    ];
    one.write([claim, settled, empty]).await;
    assert_eq!(other.rows(["C", "never", "A", "B"]).await, expected);
    let rows = other.store.read(Vec::new()).await.unwrap();
    assert!(rows.rows.is_empty());
    assert_eq!(rows.now, on.clock.now());
}

/// Each write of a batch takes place if its row has the expected version, whatever becomes of the
/// others.
pub async fn a_write_that_loses_its_race_leaves_the_others_of_its_batch<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    other.write([put("A", None, 1), put("B", None, 2)]).await;
    let batch = [
        put("A", None, 11).note("n/A", "lost"),
        put("B", Some(2), 12).note("n/B", "won"),
        put("C", None, 13).note("n/C", "won"),
        put("D", Some(1), 14).note("n/D", "lost"),
        put("E", None, 15),
    ];
    assert_eq!(one.write(batch).await, [12, 13, 15]);
    let versions = other.versions(["A", "B", "C", "D", "E"]).await;
    assert_eq!(versions, [Some(1), Some(12), Some(13), None, Some(15)]);
    assert_eq!(other.note_keys("n/").await, ["n/B", "n/C"]);
    assert_eq!(one.write([]).await, [0; 0]);
}

/// Of the writes that two processes make of a row at once, one takes place.
pub async fn of_two_batches_at_once_each_row_takes_one_write<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let mut expected = [None; 8];
    for round in 1..=20 {
        let batch = |number: u64| {
            let writes = expected.iter().zip(1..).map(|(expected, key)| {
                let version = round * 100 + number * 10 + key;
                put(&key.to_string(), *expected, version)
            });
            writes.collect::<Vec<_>>()
        };
        let (mut there, back) = (batch(1), batch(2));
        there.reverse();
        let (there, back) = tokio::join!(one.try_write(there), other.try_write(back));
        let mut versions = [there.unwrap(), back.unwrap()].concat();
        versions.sort_unstable_by_key(|version| version % 10);
        assert_eq!(versions.len(), expected.len(), "each row was written once");
        let now = one.versions(["1", "2", "3", "4", "5", "6", "7", "8"]).await;
        assert_eq!(now.map(Option::unwrap).to_vec(), versions);
        expected = now;
    }
}

/// Where a row without a record is, a write that expects no row does not take place.
pub async fn a_row_without_a_record_is_a_row<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    one.write([live("A", None, 1)]).await;
    assert_eq!(one.write([without_record("A", Some(1), 2)]).await, [2]);
    let [row] = other.rows(["A"]).await;
    let row = row.unwrap();
    assert_eq!((row.version, row.record), (2, None));
    assert!(other.write([live("A", None, 3)]).await.is_empty());
    assert_eq!(other.write([live("A", Some(2), 4)]).await, [4]);
}

/// A batch of the largest size takes place, each write with its notes.
pub async fn a_large_batch_is_made_whole<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let batch = (1..=256).map(|number| {
        let write = put(&number.to_string(), None, number);
        write
            .note(format!("n/{number}"), [7; 1_000])
            .note("q/~", "")
    });
    let written = one.try_write(batch.collect()).await.unwrap();
    assert_eq!(written, (1..=256).collect::<Vec<_>>());
    assert_eq!(one.notes("n/").await.len(), 256);
    assert_eq!(one.notes("q/").await.len(), 256);
    let ids = (1..=256).map(|number| id(&number.to_string()));
    let rows = one.store.read(ids.collect()).await.unwrap().rows;
    let versions = rows.into_iter().map(|row| row.unwrap().unwrap().version);
    assert!(versions.eq(1..=256));
}

/// A letter and notes are there if and only if their row was written.
pub async fn a_letter_and_notes_go_with_their_row<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let (won, lost) = (letter(1, "laws", "A"), letter(2, "laws", "B"));
    other.write([put("B", None, 1)]).await;
    let batch = [
        put("A", None, 2).opens(won.clone()).note("n/~", "won"),
        put("B", None, 3).opens(lost.clone()).note("n/~", "lost"),
    ];
    assert_eq!(one.write(batch).await, [2]);
    let store = &other.store;
    assert_eq!(store.letter(won.id).await.unwrap(), Some(won));
    assert_eq!(store.letter(lost.id).await.unwrap(), None);
    assert_eq!(store.open_letters().await.unwrap(), 1);
    let values: Vec<_> = other.notes("n/").await.into_iter().collect();
    assert_eq!(values.len(), 1);
    assert_eq!(values[0].1, b"won");
    assert_eq!(other.notes("untold/").await.len(), 1);
}

/// A write that changes a letter takes place if the letter exists.
pub async fn a_letter_that_is_gone_keeps_its_write_from_taking_place<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let (kept, gone) = (letter(1, "laws", "A"), letter(2, "laws", "B"));
    one.write([put("A", None, 1).opens(kept.clone())]).await;
    let batch = [
        put("A", Some(1), 2).changes(kept.clone()).note("n/A", ""),
        put("B", None, 3).changes(gone.clone()).note("n/B", ""),
        put("C", None, 4),
    ];
    assert_eq!(one.write(batch).await, [2, 4]);
    assert_eq!(one.versions(["A", "B"]).await, [Some(2), None]);
    assert_eq!(one.store.letter(gone.id).await.unwrap(), None);
    assert_eq!(one.note_keys("n/").await, ["n/A"]);
}

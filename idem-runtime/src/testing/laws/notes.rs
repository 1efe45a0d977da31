//! Laws of the notes.

use std::cell::Cell;
use std::sync::Arc;

use futures_util::future::{join, join_all};

use super::{PAUSE, Subject, TTL, claim, complete, id, redrive};
use crate::ledger::{LedgerError, Note, unnotified_key};
use crate::protocol::{AttemptOutcome, ExpectedNote, NoteChange, Reply, Step, StoredResult};

async fn keys(on: &Subject, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    on.ledger
        .notes(prefix, after, limit)
        .await
        .unwrap()
        .into_iter()
        .map(|note| note.key)
        .collect()
}

async fn values(on: &Subject, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let notes = on.ledger.notes(prefix, None, 10).await.unwrap();
    notes
        .into_iter()
        .map(|note| (note.key, note.value))
        .collect()
}

fn put(key: &str, value: &[u8]) -> NoteChange {
    NoteChange::put(key, value)
}

/// All changes of a write happen, the last one of a key counts, and notes are read by prefix, in
/// order, by the page.
pub async fn notes_are_written_together_and_read_in_order(on: Arc<Subject>) {
    let large = vec![7; 100_000];
    on.ledger
        .write_notes(
            vec![
                put("a/2", b"two"),
                put("a/1", b""),
                put("b/1", &large),
                put("a", b"short"),
            ],
            Vec::new(),
        )
        .await
        .unwrap();
    on.ledger
        .write_notes(
            vec![
                put("a/3", b"x"),
                put("a/3", b"three"),
                NoteChange::delete("never"),
            ],
            Vec::new(),
        )
        .await
        .unwrap();
    assert_eq!(keys(&on, "a/", None, 10).await, ["a/1", "a/2", "a/3"]);
    assert_eq!(keys(&on, "a/", Some("a/1"), 1).await, ["a/2"]);
    assert_eq!(
        keys(&on, "", None, 10).await,
        ["a", "a/1", "a/2", "a/3", "b/1"]
    );
    let values = on.ledger.notes("a/", None, 10).await.unwrap();
    assert_eq!(
        values.iter().map(|note| &*note.value).collect::<Vec<_>>(),
        [b"".as_slice(), b"two", b"three"]
    );
    assert_eq!(
        on.ledger.notes("b/", None, 1).await.unwrap()[0].value,
        large
    );
    let changes = vec![
        NoteChange::delete("b/1"),
        NoteChange::delete("a/2"),
        put("a/2", b"again"),
        put("a/1", &large),
    ];
    on.ledger.write_notes(changes, Vec::new()).await.unwrap();
    assert_eq!(keys(&on, "", None, 10).await, ["a", "a/1", "a/2", "a/3"]);
    assert_eq!(
        on.ledger.notes("a/2", None, 1).await.unwrap()[0].value,
        b"again"
    );
}

/// A letter is written together with its pending-notification marker. The marker can be deleted,
/// and is removed with the letter at the latest.
pub async fn a_new_letter_has_a_marker_until_it_is_deleted(on: Arc<Subject>) {
    let told = on.kill("A").await.id;
    let forgotten = on.kill("B").await.id;
    let mut both = [unnotified_key(told), unnotified_key(forgotten)];
    both.sort();
    assert_eq!(keys(&on, "untold/", None, 10).await, both);
    on.ledger
        .write_notes(
            vec![
                NoteChange::delete(unnotified_key(told)),
                put("told/last", told.as_bytes()),
            ],
            Vec::new(),
        )
        .await
        .unwrap();
    assert_eq!(
        keys(&on, "untold/", None, 10).await,
        [unnotified_key(forgotten)]
    );
    on.step("B", redrive(forgotten)).await;
    assert_eq!(
        keys(&on, "untold/", None, 10).await,
        [unnotified_key(forgotten)]
    );
    on.clock.advance(TTL + PAUSE);
    on.ledger.sweep(100, TTL).await.unwrap();
    // The redriven message never came again, and is a letter of its own.
    let again = keys(&on, "untold/", None, 10).await;
    assert_eq!(again.len(), 1);
    assert_ne!(again, [unnotified_key(forgotten)]);
}

/// The notes of a result are there when it is, and only then: neither a lost claim nor a report
/// that is brought twice writes them.
pub async fn a_result_and_its_notes_are_one_write(on: Arc<Subject>) {
    let with = |token, note: &str| Step::Complete {
        token,
        result: StoredResult::json(b"7".as_slice()),
        notes: vec![put(note, b"large enough to matter")],
    };
    let first = on.start("A").await;
    on.fail("A", first.token, AttemptOutcome::Failed).await;
    on.clock.advance(PAUSE);
    let second = on.start("A").await;
    assert_eq!(
        on.step("A", with(first.token, "out/late")).await,
        Reply::LeaseLost
    );
    assert_eq!(keys(&on, "out/", None, 10).await, [""; 0]);
    assert_eq!(
        on.step("A", with(second.token, "out/1")).await,
        Reply::Recorded
    );
    assert_eq!(keys(&on, "out/", None, 10).await, ["out/1"]);
    on.ledger
        .write_notes(vec![NoteChange::delete("out/1")], Vec::new())
        .await
        .unwrap();
    assert_eq!(
        on.step("A", with(second.token, "out/1")).await,
        Reply::Recorded
    );
    assert_eq!(
        keys(&on, "out/", None, 10).await,
        [""; 0],
        "it was sent, and the report came once more"
    );
}

/// A key that ends in `/~` gets a number: by the order in which writes are made, and within one by
/// the order of its notes.
pub async fn numbers_of_notes_grow_as_they_are_recorded(on: Arc<Subject>) {
    let running = on.start("A").await;
    on.ledger
        .write_notes(
            vec![put("out/~", b"1"), put("other/~", b"2"), put("out/~", b"3")],
            Vec::new(),
        )
        .await
        .unwrap();
    let result = StoredResult::json(b"7".as_slice());
    let notes = vec![
        put("out/~", b"4"),
        put("out/plain~", b""),
        put("out/~", b"5"),
    ];
    let complete = Step::Complete {
        token: running.token,
        result,
        notes,
    };
    assert_eq!(on.step("A", complete.clone()).await, Reply::Recorded);
    assert_eq!(
        on.step("A", complete).await,
        Reply::Recorded,
        "brought again, it writes nothing"
    );
    on.kill("B").await;
    on.ledger
        .write_notes(vec![put("out/~", b"6")], Vec::new())
        .await
        .unwrap();
    let numbered = on.ledger.notes("out/~", None, 10).await.unwrap();
    assert_eq!(
        numbered.iter().map(|note| &*note.value).collect::<Vec<_>>(),
        [b"1", b"3", b"4", b"5", b"6"]
    );
    let other = keys(&on, "other/~", None, 10)
        .await
        .remove(0)
        .replace("other", "out");
    assert!(
        numbered[0].key < other && other < numbered[1].key,
        "{other} is between {numbered:?}"
    );
    for Note { key, .. } in &numbered {
        let digits = key.strip_prefix("out/~").unwrap();
        assert!(
            digits.len() == 16 && u64::from_str_radix(digits, 16).is_ok(),
            "{key}"
        );
    }
    // Under its whole key it is a note like others.
    let first = numbered[0].key.clone();
    on.ledger
        .write_notes(
            vec![put(&first, b"again"), NoteChange::delete("out/~")],
            Vec::new(),
        )
        .await
        .unwrap();
    assert_eq!(
        on.ledger.notes("out/~", None, 1).await.unwrap()[0].value,
        b"again"
    );
    on.ledger
        .write_notes(vec![NoteChange::delete(&*first)], Vec::new())
        .await
        .unwrap();
    assert_eq!(keys(&on, "out/~", None, 10).await.len(), 4);
}

/// A reader of numbered notes that goes on after the last one each time, while others write them,
/// reads all of them.
pub async fn a_reader_of_numbered_notes_misses_none(on: Arc<Subject>) {
    const WRITERS: usize = 8;
    const WRITES: usize = 30;
    let writers = (0..WRITERS).map(|writer| {
        let on = Arc::clone(&on);
        tokio::spawn(async move {
            for write in 0..WRITES {
                on.ledger
                    .write_notes(vec![put("out/~", &[writer as u8, write as u8])], Vec::new())
                    .await
                    .unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut read = Vec::<Note>::new();
    loop {
        // Asked before the look, so that the last look comes after the last write.
        let ended = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let after = read.last().map(|note| note.key.clone());
        let page = on.ledger.notes("out/", after.as_deref(), 7).await.unwrap();
        if ended && page.is_empty() {
            break;
        }
        read.extend(page);
        tokio::task::yield_now().await;
    }
    let all = on.ledger.notes("out/", None, 1000).await.unwrap();
    assert_eq!(read, all, "it read them in the order in which they stand");
    for writer in 0..WRITERS {
        let own: Vec<_> = all
            .iter()
            .filter(|note| usize::from(note.value[0]) == writer)
            .map(|note| note.value[1])
            .collect();
        assert!(
            own.is_sorted() && own.len() == WRITES,
            "writer {writer}: {own:?}"
        );
    }
}

/// A key takes 200 bytes at most, its number included; what has a longer one is not written, with
/// all of its write.
pub async fn a_note_whose_key_is_too_long_is_refused(on: Arc<Subject>) {
    let of = |length: usize, end: &str| format!("{}{end}", "k".repeat(length - end.len()));
    on.ledger
        .write_notes(
            vec![put(&of(200, ""), b""), put(&of(184, "/~"), b"")],
            Vec::new(),
        )
        .await
        .unwrap();
    let there = keys(&on, "", None, 10).await;
    assert_eq!(
        there.iter().map(String::len).collect::<Vec<_>>(),
        [200, 200]
    );
    let running = on.start("A").await;
    for key in [of(201, ""), of(185, "/~"), of(100_000, "")] {
        let changes = vec![put("short", b""), put(&key, b"")];
        let refused = on.ledger.write_notes(changes.clone(), Vec::new()).await;
        assert!(
            matches!(refused, Err(LedgerError::KeyTooLong { limit: 200, .. })),
            "{refused:?}"
        );
        let result = StoredResult::json(b"7".as_slice());
        let complete = Step::Complete {
            token: running.token,
            result,
            notes: changes,
        };
        let refused = on.ledger.apply(&id("A"), complete).await;
        assert!(
            matches!(refused, Err(LedgerError::KeyTooLong { .. })),
            "{refused:?}"
        );
        // Removing a missing note is not an error.
        on.ledger
            .write_notes(vec![NoteChange::delete(key)], Vec::new())
            .await
            .unwrap();
    }
    assert_eq!(keys(&on, "", None, 10).await, there);
    assert_eq!(
        on.step("A", complete(running.token, "8")).await,
        Reply::Recorded,
        "it was still running"
    );
}

/// A guarded write happens if all that it expects is so, and else none of it.
pub async fn a_guarded_write_needs_what_it_expects(on: Arc<Subject>) {
    let write = |changes, expected| on.ledger.write_notes(changes, expected);
    let first = vec![put("guard/a", b"1"), put("guard/b", b"1")];
    let absent = vec![ExpectedNote::absent("guard/a")];
    assert!(write(first.clone(), absent.clone()).await.unwrap());
    assert!(!write(first, absent).await.unwrap());
    let second = vec![put("guard/a", b"2"), NoteChange::delete("guard/b")];
    for unmet in [
        ExpectedNote::value("guard/b", *b"2"),
        ExpectedNote::value("guard/b", Vec::new()),
        ExpectedNote::absent("guard/b"),
        ExpectedNote::value("guard/c", Vec::new()),
    ] {
        let expected = vec![ExpectedNote::value("guard/a", *b"1"), unmet];
        assert!(!write(second.clone(), expected).await.unwrap());
    }
    let unchanged = ["guard/a", "guard/b"].map(|key| (key.to_owned(), b"1".to_vec()));
    assert_eq!(values(&on, "guard/").await, unchanged);
    let met = vec![
        ExpectedNote::value("guard/a", *b"1"),
        ExpectedNote::value("guard/b", *b"1"),
        ExpectedNote::absent("guard/c"),
    ];
    assert!(write(second, met).await.unwrap());
    assert_eq!(
        values(&on, "guard/").await,
        [("guard/a".to_owned(), b"2".to_vec())]
    );
}

/// Of many guarded writes at once that expect the same, one happens.
pub async fn of_many_guarded_writes_one_happens(on: Arc<Subject>) {
    const WRITERS: u8 = 32;
    for round in 0..8_u8 {
        let expected = match round {
            0 => ExpectedNote::absent("guard/next"),
            _ => ExpectedNote::value("guard/next", [round - 1]),
        };
        let writes: Vec<_> = (0..WRITERS)
            .map(|_| {
                let changes = vec![put("guard/next", &[round])];
                tokio::spawn(on.ledger.write_notes(changes, vec![expected.clone()]))
            })
            .collect();
        let mut written = 0;
        for write in writes {
            written += u8::from(write.await.unwrap().unwrap());
        }
        assert_eq!(written, 1, "in round {round}");
    }
}

/// A write of notes is made after the steps that were asked for before it, and however many follow.
pub async fn notes_come_after_what_was_asked_before_and_wait_for_nothing_later(on: Arc<Subject>) {
    const WRITES: usize = 5;
    let is_done = Cell::new(false);
    let busy = |caller: usize| {
        let (on, is_done) = (&on, &is_done);
        async move {
            let mut calls = 0;
            while !is_done.get() {
                let key = format!("{caller}-{calls}");
                let started = on.start(&key).await;
                on.step(&key, complete(started.token, "1")).await;
                calls += 1;
                // A ledger in memory is never waited for.
                tokio::task::yield_now().await;
            }
        }
    };
    let notes = async {
        for number in 0..WRITES {
            let key = format!("before {number}");
            let before = on.ledger.apply(&id(&key), Step::Claim(claim()));
            let change = put(&format!("among/{number}"), b"");
            let written = on.ledger.write_notes(vec![change], Vec::new());
            let notes = async {
                assert!(written.await.unwrap());
                let record = on.ledger.record(&id(&key)).await.unwrap();
                assert!(record.is_some(), "it was asked for before");
            };
            join(before, notes).await.0.unwrap();
        }
        is_done.set(true);
    };
    join(notes, join_all((0..16).map(busy))).await;
    assert_eq!(keys(&on, "among/", None, 10).await.len(), WRITES);
}

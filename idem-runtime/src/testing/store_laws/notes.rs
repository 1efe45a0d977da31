//! Laws of notes.

use super::Subject;
use super::member::{Member, put};
use crate::ledger::shared::Store;
use crate::ledger::{ExpectedNote, NoteChange};

async fn write<S: Store>(
    by: &Member<S>,
    changes: impl IntoIterator<Item = NoteChange>,
    expected: impl IntoIterator<Item = ExpectedNote>,
) -> bool {
    let changes = changes.into_iter().collect();
    let expected = expected.into_iter().collect();
    by.store.write_notes(changes, expected).await.unwrap()
}

/// Notes are read by prefix, in the order of their keys' bytes, after a key, and up to a limit.
pub async fn notes_are_read_in_the_order_of_their_bytes<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let mut keys = [
        "a/1",
        "a/10",
        "a/2",
        "a/B",
        "a/b",
        "a/é",
        "a/e\u{301}",
        "a/z",
        "a/😀",
        "a/\u{ffff}",
        "a/%",
        "a/_",
        "a/\\",
        "a/\u{10ffff}",
        "a/ ",
        "a",
        "a0",
        "b/%x",
        "b/ax",
        "b/_x",
        "b/\\x",
        "a/\0",
        "A/1",
        "c\u{10ffff}/1",
        "d/1",
    ];
    // Written in another order than that of their bytes.
    assert!(write(&one, keys.map(|key| NoteChange::put(key, key)), []).await);
    keys.sort_unstable();
    let prefixes = [
        "",
        "a",
        "a/",
        "b/%",
        "b/_",
        "b/\\",
        "c",
        "c\u{10ffff}",
        "d/1",
        "d/12",
        "e",
    ];
    let afters = [
        None,
        Some("a/2"),
        Some("a/zz"),
        Some(""),
        Some("b/"),
        Some("z"),
    ];
    for prefix in prefixes {
        for after in afters {
            for limit in [0, 2, usize::MAX] {
                let fits = |key: &&&str| {
                    key.starts_with(prefix) && after.is_none_or(|after| after < **key)
                };
                let expected: Vec<_> = keys.iter().filter(fits).take(limit).collect();
                let notes = other
                    .store
                    .notes(prefix.to_owned(), after.map(str::to_owned), limit);
                let notes = notes.await.unwrap();
                assert!(notes.iter().all(|note| note.value == note.key.as_bytes()));
                let read: Vec<_> = notes.iter().map(|note| &*note.key).collect();
                let read: Vec<_> = read.iter().collect();
                assert_eq!(read, expected, "{prefix:?} after {after:?}, {limit}");
            }
        }
    }
}

/// A note has the value that was written last, also within one write; any bytes come back.
pub async fn the_last_change_of_a_note_counts<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    let changes = [
        NoteChange::put("a", "1"),
        NoteChange::put("a", bytes.clone()),
        NoteChange::put("b", ""),
        NoteChange::put("c", "1"),
        NoteChange::delete("c"),
        NoteChange::delete("never"),
    ];
    assert!(write(&one, changes, []).await);
    let expected = [("a".to_owned(), bytes), ("b".to_owned(), Vec::new())];
    assert_eq!(other.notes("").await, expected);
    let mut row = put("A", None, 1).note("a", "2").note("a", "3");
    row.notes.push(NoteChange::delete("b"));
    row.notes.push(NoteChange::put("b", "back"));
    one.write([row]).await;
    let expected = [("a", b"3".to_vec()), ("b", b"back".to_vec())];
    let expected = expected.map(|(key, value)| (key.to_owned(), value));
    assert_eq!(other.notes("").await, expected);
    assert!(write(&one, [], []).await);
}

/// Of a write of notes all changes take place, or none if one of the notes is not as expected.
pub async fn a_guarded_write_of_notes_is_whole<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let changes = || [NoteChange::put("n/1", "new"), NoteChange::delete("n/2")];
    assert!(
        write(
            &one,
            [NoteChange::put("n/2", "")],
            [ExpectedNote::absent("n/2")]
        )
        .await
    );
    let (empty, absent) = (
        || ExpectedNote::value("n/2", ""),
        || ExpectedNote::absent("n/1"),
    );
    let wrong = [
        [ExpectedNote::absent("n/2"), absent()],
        [empty(), ExpectedNote::value("n/1", "")],
        [ExpectedNote::value("n/2", "x"), absent()],
        [ExpectedNote::value("n/3", ""), empty()],
    ];
    for expected in wrong {
        let shown = format!("{expected:?}");
        assert!(!write(&other, changes(), expected).await, "{shown}");
        assert_eq!(one.note_keys("").await, ["n/2"], "{shown}");
    }
    assert!(write(&other, changes(), [empty(), absent()]).await);
    assert_eq!(one.notes("").await, [("n/1".to_owned(), b"new".to_vec())]);
    // Of two at once, one takes place.
    for round in 0..20_u8 {
        let before = one.notes("").await.remove(0).1;
        let race = async |by: &Member<S>, value: [u8; 2]| {
            let change = NoteChange::put("n/1", value);
            write(by, [change], [ExpectedNote::value("n/1", before.clone())]).await
        };
        let (there, back) = tokio::join!(race(&one, [round, 0]), race(&other, [round, 1]));
        assert!(there != back, "{there} {back}");
        let value = one.notes("").await.remove(0).1;
        assert_eq!(value, [round, u8::from(back)]);
    }
}

/// A reader that goes on behind the last numbered note that it read misses none, also of a
/// transaction that was begun before and is committed later.
pub async fn numbers_of_notes_grow_as_they_become_readable<S: Store>(on: Subject<S>) {
    const WRITES: u64 = 30;
    let (one, other) = (on.member("one").await, on.member("two").await);
    let reader = on.member("reader").await;
    let writes = async |by: &Member<S>, first: u64| {
        for number in first..first + WRITES {
            let row = put(&number.to_string(), None, number);
            let row = row.note("q/~", number.to_string());
            if number % 3 == 0
                && let Some(mut transaction) = by.begin().await
            {
                assert!(transaction.write(row).await.unwrap());
                tokio::task::yield_now().await;
                transaction.commit().await.unwrap();
            } else {
                assert_eq!(by.write([row]).await, [number]);
            }
            let note = NoteChange::put("q/~", format!("note {number}"));
            assert!(write(by, [note], []).await);
        }
    };
    let reads = async {
        let (mut last, mut values) = (None, Vec::new());
        while values.len() < 4 * WRITES as usize {
            let notes = reader.store.notes("q/".to_owned(), last.clone(), 7);
            for note in notes.await.unwrap() {
                values.push(String::from_utf8(note.value).unwrap());
                last = Some(note.key);
            }
            tokio::task::yield_now().await;
        }
        values
    };
    // If it misses one, it reads for ever.
    let (mut values, (), ()) = tokio::join!(reads, writes(&one, 1), writes(&other, 1_001));
    values.sort();
    values.dedup();
    assert_eq!(values.len(), 4 * WRITES as usize);
}

/// The numbers within one write follow the order of its notes.
pub async fn numbers_of_notes_grow_within_a_write<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let put_numbered = |value: u8| NoteChange::put("q/~", [value]);
    assert!(write(&one, (0..20).map(put_numbered), []).await);
    let mut row = put("A", None, 1);
    row.notes.extend((20..40).map(put_numbered));
    one.write([row]).await;
    let notes = one.notes("q/").await;
    let values: Vec<_> = notes.iter().flat_map(|(_, value)| value.clone()).collect();
    assert_eq!(values, (0..40).collect::<Vec<_>>());
    for (key, _) in notes {
        let digits = key.strip_prefix("q/~").unwrap();
        assert_eq!(digits.len(), 16, "{key}");
        assert!(u64::from_str_radix(digits, 16).unwrap() > 0, "{key}");
    }
}

/// Notes that were numbered by another ledger keep their numbers, and later ones come behind them,
/// also once they are removed.
pub async fn a_number_from_elsewhere_makes_later_ones_larger<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let elsewhere = "q/~00000000000f4240";
    assert!(write(&one, [NoteChange::put(elsewhere, "copied")], []).await);
    assert!(write(&other, [NoteChange::put("q/~", "new")], []).await);
    let notes = other.notes("q/").await;
    let values: Vec<_> = notes.iter().map(|(_, value)| &value[..]).collect();
    assert_eq!(values, [&b"copied"[..], b"new"]);
    assert_eq!(notes[0].0, elsewhere);
    let both = "q/~00000000001e8480";
    let raised = [NoteChange::put(both, "gone"), NoteChange::delete(both)];
    assert!(write(&one, raised, []).await);
    assert!(write(&other, [NoteChange::put("q/~", "last")], []).await);
    let notes = one.notes("q/").await;
    assert_eq!(notes.len(), 3);
    assert!(&*notes[2].0 > both, "{}", notes[2].0);
}

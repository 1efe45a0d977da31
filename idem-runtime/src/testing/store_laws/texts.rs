//! Laws of texts: keys and names of any characters are told apart, and come back as they were.

use std::collections::{BTreeMap, HashSet};

use super::Subject;
use super::member::{letter, live};
use crate::clock::Clock;
use crate::ledger::shared::{Store, Write};
use crate::ledger::{Filter, NoteChange};
use crate::protocol::RecordId;

fn odd() -> Vec<String> {
    let short = [
        "",
        " ",
        "a",
        "A",
        "a ",
        " a",
        "a\n",
        "\t",
        "é",
        "e\u{301}",
        "😀",
        "\u{10ffff}",
        "\u{ffff}",
        "\0",
        "a\0",
        "a\0b",
        "\\",
        "\\0",
        "\\\\",
        "\\\\0",
        "\\x00",
        "%",
        "_",
        "'",
        "\"",
        "`",
        "NULL",
        "null",
        "{}",
        "\u{202e}",
        "ß",
        "ss",
        "İ",
        "i",
        "a/b",
        "/",
        "$1",
        ":a",
        "?",
    ];
    let long = ["x".repeat(9_999), "x".repeat(10_000), "😀".repeat(2_500)];
    let short = short.map(str::to_owned);
    short.into_iter().chain(long).collect()
}

/// Rows of odd handlers and keys, up to 10,000 bytes long, do not meet.
pub async fn record_keys_come_back_exactly<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let split = [
        ("a", "bc"),
        ("ab", "c"),
        ("a/", "bc"),
        ("a", "/bc"),
        ("a\0", "bc"),
        ("a", "\0bc"),
    ];
    let keys = odd().into_iter().map(|key| RecordId::new("h", key));
    let handlers = odd().into_iter().map(|handler| RecordId::new(handler, "k"));
    let split = split.map(|(handler, key)| RecordId::new(handler, key));
    let ids: Vec<_> = keys.chain(handlers).chain(split).collect();
    let rows = ids.iter().zip(1..).map(|(id, version)| Write {
        id: id.clone(),
        ..live("", None, version).due(on.clock.now())
    });
    let written = one.try_write(rows.collect()).await.unwrap();
    assert_eq!(written.len(), ids.len(), "each is a row of its own");
    let read = one.store.read(ids.clone()).await.unwrap().rows;
    let versions = read.into_iter().map(|row| row.unwrap().unwrap().version);
    assert!(versions.eq(1..=ids.len() as u64));
    let due = one.store.due(usize::MAX).await.unwrap();
    assert_eq!(due.len(), ids.len());
    let ids: HashSet<_> = ids.into_iter().collect();
    assert!(due.into_iter().collect::<HashSet<_>>() == ids);
}

/// Letters of odd handlers and keys come back, and are chosen by them.
pub async fn letter_keys_come_back_exactly<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let letters = (1..).zip(odd()).map(|(number, text)| {
        let mut letter = letter(number, &text, &text);
        letter.error = Some(text);
        letter
    });
    let letters: Vec<_> = letters.collect();
    let rows = (1..).zip(&letters).map(|(version, letter)| {
        let row = live(&version.to_string(), None, version);
        row.opens(letter.clone())
    });
    one.try_write(rows.collect()).await.unwrap();
    for letter in letters {
        for filter in [
            Filter::default().handler(&*letter.handler),
            Filter::default().key(&*letter.key),
        ] {
            let chosen = one.store.letters(filter).await.unwrap();
            assert!(chosen == [letter.clone()], "{:?}", letter.key);
        }
    }
}

/// Notes with odd keys come back, and are told apart.
pub async fn note_keys_come_back_exactly<S: Store>(on: Subject<S>) {
    let one = on.member("one").await;
    let short = odd().into_iter().filter(|text| text.len() < 100);
    let notes: BTreeMap<_, _> = short
        .zip(0_u8..)
        .map(|(key, value)| (format!("n/{key}"), vec![value]))
        .collect();
    let changes = notes
        .iter()
        .map(|(key, value)| NoteChange::put(key, &**value));
    let writing = one.store.write_notes(changes.collect(), Vec::new());
    assert!(writing.await.unwrap());
    let read: BTreeMap<_, _> = one.notes("n/").await.into_iter().collect();
    assert_eq!(read, notes);
    for (key, value) in &notes {
        let found = one.notes(key).await;
        assert_eq!(found.first(), Some(&(key.clone(), value.clone())));
    }
}

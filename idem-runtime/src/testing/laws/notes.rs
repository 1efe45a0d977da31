//! Laws of the notes.

use std::sync::Arc;

use super::{PAUSE, Subject, TTL, redrive};
use crate::ledger::untold;
use crate::protocol::{AttemptOutcome, Reply, Step, StoredResult};

async fn keys(on: &Subject, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    on.ledger.notes(prefix, after, limit).await.unwrap().into_iter().map(|note| note.key).collect()
}

fn put(key: &str, value: &[u8]) -> (String, Option<Vec<u8>>) {
    (key.to_owned(), Some(value.to_vec()))
}

/// All changes of a write happen, the last one of a key counts, and notes are read by prefix, in order, by the page.
pub async fn notes_are_written_together_and_read_in_order(on: Arc<Subject>) {
    let large = vec![7; 100_000];
    on.ledger
        .write_notes(vec![put("a/2", b"two"), put("a/1", b""), put("b/1", &large), put("a", b"short")])
        .await
        .unwrap();
    on.ledger.write_notes(vec![put("a/3", b"x"), put("a/3", b"three"), ("never".to_owned(), None)]).await.unwrap();
    assert_eq!(keys(&on, "a/", None, 10).await, ["a/1", "a/2", "a/3"]);
    assert_eq!(keys(&on, "a/", Some("a/1"), 1).await, ["a/2"]);
    assert_eq!(keys(&on, "", None, 10).await, ["a", "a/1", "a/2", "a/3", "b/1"]);
    let values = on.ledger.notes("a/", None, 10).await.unwrap();
    assert_eq!(values.iter().map(|note| &*note.value).collect::<Vec<_>>(), [b"".as_slice(), b"two", b"three"]);
    assert_eq!(on.ledger.notes("b/", None, 1).await.unwrap()[0].value, large);
    let changes = vec![("b/1".to_owned(), None), ("a/2".to_owned(), None), put("a/2", b"again"), put("a/1", &large)];
    on.ledger.write_notes(changes).await.unwrap();
    assert_eq!(keys(&on, "", None, 10).await, ["a", "a/1", "a/2", "a/3"]);
    assert_eq!(on.ledger.notes("a/2", None, 1).await.unwrap()[0].value, b"again");
}

/// A letter is written together with the note that nobody was told of it; the note goes when somebody says so, and with
/// the letter at the latest.
pub async fn a_new_letter_is_untold_until_somebody_says_so(on: Arc<Subject>) {
    let told = on.kill("A").await.id;
    let forgotten = on.kill("B").await.id;
    let mut both = [untold(told), untold(forgotten)];
    both.sort();
    assert_eq!(keys(&on, "untold/", None, 10).await, both);
    on.ledger.write_notes(vec![(untold(told), None), put("told/last", told.as_bytes())]).await.unwrap();
    assert_eq!(keys(&on, "untold/", None, 10).await, [untold(forgotten)]);
    on.step("B", redrive(forgotten)).await;
    assert_eq!(keys(&on, "untold/", None, 10).await, [untold(forgotten)]);
    on.clock.advance(TTL + PAUSE);
    on.ledger.sweep(100, TTL).await.unwrap();
    // The redriven message never came again, and is a letter of its own.
    let again = keys(&on, "untold/", None, 10).await;
    assert_eq!(again.len(), 1);
    assert_ne!(again, [untold(forgotten)]);
}

/// The notes of a result are there when it is, and only then: neither a lost claim nor a report that is brought twice
/// writes them.
pub async fn a_result_and_its_notes_are_one_write(on: Arc<Subject>) {
    let with = |token, note: &str| Step::Complete {
        token,
        result: StoredResult::Json(b"7".as_slice().into()),
        notes: vec![put(note, b"large enough to matter")],
    };
    let first = on.start("A").await;
    on.fail("A", first.token, AttemptOutcome::Failed).await;
    on.clock.advance(PAUSE);
    let second = on.start("A").await;
    assert_eq!(on.step("A", with(first.token, "out/late")).await, Reply::LeaseLost);
    assert_eq!(keys(&on, "out/", None, 10).await, [""; 0]);
    assert_eq!(on.step("A", with(second.token, "out/1")).await, Reply::Recorded);
    assert_eq!(keys(&on, "out/", None, 10).await, ["out/1"]);
    on.ledger.write_notes(vec![("out/1".to_owned(), None)]).await.unwrap();
    assert_eq!(on.step("A", with(second.token, "out/1")).await, Reply::Recorded);
    assert_eq!(keys(&on, "out/", None, 10).await, [""; 0], "it was sent, and the report came once more");
}

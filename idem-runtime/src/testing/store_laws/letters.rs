//! Laws of letters.

use std::time::Duration;

use super::Subject;
use super::member::{LEASE, Member, closed, letter, put};
use crate::clock::{Clock, after};
use crate::ledger::shared::Store;
use crate::ledger::{Filter, NoteChange, unnotified_key};
use crate::protocol::LetterState::{Discarded, Redriven};

async fn chosen<S: Store>(by: &Member<S>, filter: Filter) -> Vec<u8> {
    let letters = by.store.letters(filter).await.unwrap();
    let numbers = letters.iter().map(|letter| letter.id.as_bytes()[15]);
    numbers.collect()
}

/// Letters are chosen by handler, earlier names, key, state and age, newest first, by the page.
pub async fn letters_are_chosen_by_a_filter<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let now = on.clock.now();
    let letters = [
        letter(1, "orders", "A"),
        letter(2, "orders", "B"),
        closed(letter(3, "orders", "A"), Redriven, now),
        letter(4, "mails", "A"),
        closed(letter(5, "mails", "A"), Discarded, now),
        letter(6, "orders.place", "A"),
    ];
    let ids = letters.each_ref().map(|letter| letter.id);
    // The youngest one is written first.
    for (number, letter) in (1..).zip(letters.into_iter().rev()) {
        one.write([put(&number.to_string(), None, number).opens(letter)])
            .await;
    }
    assert_eq!(other.store.open_letters().await.unwrap(), 4);
    let all = || Filter::default().any_state();
    let table = [
        (Filter::default(), vec![6, 4, 2, 1]),
        (all(), vec![6, 5, 4, 3, 2, 1]),
        (Filter::default().state(Discarded), vec![5]),
        (all().handler("orders"), vec![3, 2, 1]),
        (all().handler("Orders"), vec![]),
        (
            all().handler("orders").or_of(vec!["mails".into()]),
            vec![5, 4, 3, 2, 1],
        ),
        (all().key("A"), vec![6, 5, 4, 3, 1]),
        (all().key("a"), vec![]),
        (Filter::default().handler("orders").key("A"), vec![1]),
        (all().after(ids[3]), vec![3, 2, 1]),
        (Filter::default().after(ids[4]).limit(2), vec![4, 2]),
        (all().limit(2), vec![6, 5]),
        (all().limit(0), vec![]),
        (all().limit(usize::MAX), vec![6, 5, 4, 3, 2, 1]),
    ];
    for (filter, expected) in table {
        let shown = format!("{filter:?}");
        assert_eq!(chosen(&other, filter).await, expected, "{shown}");
    }
}

/// A letter is read as it was written last, and counted by the state that it has then.
pub async fn a_letter_is_as_it_was_written_last<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let open = letter(1, "laws", "A");
    one.write([put("A", None, 1).opens(open.clone())]).await;
    let closed = closed(open.clone(), Discarded, on.clock.now());
    let steps = [(1, 2, &closed, 0), (2, 3, &open, 1)];
    for (expected, version, letter, is_open) in steps {
        let write = put("A", Some(expected), version).changes(letter.clone());
        one.write([write]).await;
        let read = other.store.letter(letter.id).await.unwrap();
        assert_eq!(read.as_ref(), Some(letter));
        assert_eq!(other.store.open_letters().await.unwrap(), is_open);
        let listed = other.store.letters(Filter::default()).await.unwrap();
        assert_eq!(listed.len() as u64, is_open);
    }
}

/// Letters that were closed at a time or earlier are removed with their markers, no more of them
/// than were asked for.
pub async fn closed_letters_are_removed_with_their_markers<S: Store>(on: Subject<S>) {
    let (one, other) = (on.member("one").await, on.member("two").await);
    let now = on.clock.now();
    let later = after(now, Duration::from_millis(1));
    let letters = [
        closed(letter(1, "laws", "1"), Redriven, now),
        closed(letter(2, "laws", "2"), Discarded, now),
        closed(letter(3, "laws", "3"), Discarded, now),
        closed(letter(4, "laws", "4"), Discarded, later),
        letter(5, "laws", "5"),
    ];
    let ids = letters.each_ref().map(|letter| letter.id);
    for (number, letter) in (1..).zip(letters) {
        one.write([put(&number.to_string(), None, number).opens(letter)])
            .await;
    }
    // The marker of a letter that was notified is gone already.
    let told = NoteChange::delete(unnotified_key(ids[0]));
    assert!(one.store.write_notes(vec![told], Vec::new()).await.unwrap());
    let remove = async |until, limit| other.store.remove_letters(until, limit).await.unwrap();
    assert_eq!(remove(now - LEASE, usize::MAX).await, 0);
    assert_eq!(remove(now, 0).await, 0);
    assert_eq!((remove(now, 2).await, remove(now, 2).await), (2, 1));
    assert_eq!(remove(now, usize::MAX).await, 0);
    assert_eq!(chosen(&one, Filter::default().any_state()).await, [5, 4]);
    let left = [ids[3], ids[4]].map(unnotified_key);
    assert_eq!(one.note_keys("untold/").await, left);
    assert_eq!(remove(later, usize::MAX).await, 1);
    assert_eq!(one.note_keys("untold/").await, left[1..]);
}

//! Listing dead letters, backwards in time, and notes: no further than the page.

use std::{io, thread};

use minicbor::bytes::ByteVec;

use super::layout::{CLOSED_LETTER, OPEN_LETTER, letter_key, note_key};
use super::store::Store;
use crate::fault;
use crate::ledger::{Filter, LedgerError, Note};
use crate::protocol::{DeadLetter, DeadLetterId, LetterState};

/// Reads on a thread of its own.
pub(super) fn on_its_own(read: impl FnOnce() + Send + 'static) -> io::Result<()> {
    fault::point!(THREAD, |_| Err(io::ErrorKind::WouldBlock.into()));
    thread::Builder::new()
        .name("idem-reader".to_owned())
        .spawn(read)
        .map(drop)
}

pub(super) fn letters(store: &Store, filter: &Filter) -> Result<Vec<DeadLetter>, LedgerError> {
    const PAGE: usize = 256;
    let kinds: &[u8] = match filter.state {
        Some(LetterState::Open) => &[OPEN_LETTER],
        Some(_) => &[CLOSED_LETTER],
        None => &[OPEN_LETTER, CLOSED_LETTER],
    };
    let mut found = Vec::new();
    for &kind in kinds {
        let mut before = filter
            .after
            .map_or_else(|| vec![kind + 1], |id| letter_key(kind, id));
        let wanted = filter.limit.saturating_add(found.len());
        loop {
            let keys = store.keys_before(kind, &before, PAGE)?;
            for key in &keys {
                let letter = match store.get::<DeadLetter>(key) {
                    // One that cannot be read must not keep the others from people.
                    Err(error @ LedgerError::Record { .. }) => {
                        let id = key
                            .get(1..)
                            .and_then(|id| id.try_into().ok())
                            .map(DeadLetterId::from_bytes);
                        tracing::error!(letter = ?id, %error, "a dead letter was passed over");
                        continue;
                    }
                    // A letter that was closed since the keys were read is no longer here.
                    letter => letter?,
                };
                found.extend(letter.filter(|letter| filter.matches(letter)));
                if found.len() >= wanted {
                    break;
                }
            }
            match keys.last() {
                Some(last) if found.len() < wanted && keys.len() == PAGE => before.clone_from(last),
                _ => break,
            }
        }
    }
    found.sort_by_key(|letter| std::cmp::Reverse(letter.id));
    found.truncate(filter.limit);
    Ok(found)
}

pub(super) fn notes(
    store: &Store,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Note>, LedgerError> {
    let after = after.map(note_key).unwrap_or_default();
    let mut notes = Vec::new();
    for (key, _) in store.rows(&note_key(prefix), &after, limit)? {
        // One that was removed since the keys were read is no longer here.
        if let Some(value) = store.get::<ByteVec>(&key)? {
            let key = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
            notes.push(Note {
                key,
                value: value.into(),
            });
        }
    }
    Ok(notes)
}

//! Lists: rows that are due, letters backwards in time, and notes.

use std::ops::Bound;

use super::db::{Db, prefix};
use super::rows::{
    DUE, LETTER, OPEN, ROW, Stored, address_in, letter_key, note_key, time_in, time_key,
};
use super::shared::Shared;
use crate::ledger::folder::record_key::RecordKey;
use crate::ledger::{Filter, LedgerError, Note};
use crate::protocol::{DeadLetter, DeadLetterId, LetterState, RecordId};

/// Returns the next page of live rows that are due, or whose owners are dead or late. They come as if they
/// had been due at the beginning of time.
pub(super) fn due(shared: &Shared, db: &Db, limit: usize) -> Result<Vec<RecordId>, LedgerError> {
    let now = shared.now();
    let mut page = shared.page.lock();
    let left = shared.owned.lock().left(&shared.runners.lock(), now);
    let left = left.iter().map(|row| time_key(DUE, i64::MIN, row.bytes()));
    let is_new = |key: &Vec<u8>| page.as_ref().is_none_or(|page| page < key);
    let mut keys: Vec<_> = left.filter(is_new).take(limit).collect();
    let start = page
        .clone()
        .map_or(Bound::Included(vec![DUE]), Bound::Excluded);
    let end = Bound::Excluded(vec![DUE + 1]);
    db.scan((start, end), |key, _| {
        let is_due = keys.len() < limit && time_in(key) <= now.as_microsecond();
        if is_due {
            keys.push(key.to_vec());
        }
        Ok(is_due)
    })?;
    *page = keys.last().filter(|_| keys.len() == limit).cloned();
    drop(page);
    let mut ids = Vec::with_capacity(keys.len());
    for key in keys {
        let address = RecordKey::from_bytes(address_in(&key));
        let id = match address.id() {
            Some(id) => Some(id),
            None => {
                let row = db.get(&address.in_kind(ROW))?;
                row.and_then(|row| Stored::read(&row).ok()?.id(&address).ok())
            }
        };
        ids.extend(id);
    }
    Ok(ids)
}

pub(super) fn letters(db: &Db, filter: &Filter) -> Result<Vec<DeadLetter>, LedgerError> {
    // The index of the open ones is small.
    let kind = match filter.state {
        Some(LetterState::Open) => OPEN,
        _ => LETTER,
    };
    let end = filter.after.map_or(vec![kind + 1], |after| {
        [&[kind], &after.as_bytes()[..]].concat()
    });
    let mut letters = Vec::new();
    if filter.limit == 0 {
        return Ok(letters);
    }
    let range = (Bound::Included(vec![kind]), Bound::Excluded(end));
    db.scan_back(range, |key, letter| {
        let id = key.get(1..).and_then(|id| id.try_into().ok());
        let id = DeadLetterId::from_bytes(id.unwrap_or_default());
        let decoded = match kind {
            LETTER => DeadLetter::decode(letter).map(Some),
            _ => db
                .get(&letter_key(id))
                .and_then(|letter| letter.map(|letter| DeadLetter::decode(&letter)).transpose()),
        };
        match decoded {
            // One that cannot be read must not keep the others from people.
            Err(error @ LedgerError::Record { .. }) => {
                tracing::error!(letter = %id, %error, "a dead letter was passed over");
            }
            letter => letters.extend(letter?.filter(|letter| filter.matches(letter))),
        }
        Ok(letters.len() < filter.limit)
    })?;
    Ok(letters)
}

pub(super) fn notes(
    db: &Db,
    beginning: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Note>, LedgerError> {
    let (start, end) = prefix(&note_key(beginning));
    let start = match after {
        Some(after) if after >= beginning => Bound::Excluded(note_key(after)),
        _ => start,
    };
    let mut notes = Vec::new();
    let is_empty =
        limit == 0 || after.is_some_and(|after| after > beginning && !after.starts_with(beginning));
    if is_empty {
        return Ok(notes);
    }
    db.scan((start, end), |key, value| {
        notes.push(Note {
            key: String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned(),
            value: value.to_vec(),
        });
        Ok(notes.len() < limit)
    })?;
    Ok(notes)
}

//! Letters on their way to the second ledger.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::super::store::{LetterWrite, Rows, Runner, Store, StoreError, Write, Written};
use super::{LettersIn, PAGE, UNKEPT, encode, unkept, unkept_key};
use crate::ledger::{ExpectedNote, Note, NoteChange};
use crate::protocol::{DeadLetter, DeadLetterId, LetterState, Record, Settlement};

/// What a write makes of a letter.
struct Changed {
    version: u64,
    id: DeadLetterId,
    /// What the second ledger has to have of it.
    entry: NoteChange,
}

impl<S: Store> LettersIn<S> {
    pub(super) async fn write_and_keep(
        &self,
        runner: &Runner,
        mut writes: Vec<Write>,
    ) -> Result<Written, StoreError> {
        let mut changed = Vec::new();
        for write in &mut writes {
            let Some(LetterWrite { letter, .. }) = &write.letter else {
                continue;
            };
            let (version, id) = (write.version, letter.id);
            let entry = self.entry(letter, write.record.as_deref())?;
            let note = NoteChange::put(unkept_key(id), version.to_be_bytes());
            write.notes.push(note);
            changed.push(Changed { version, id, entry });
        }
        let written = self.store.write(runner, writes).await?;
        changed.retain(|letter| written.versions.contains(&letter.version));
        if !changed.is_empty() {
            self.keep(changed).await?;
        }
        Ok(written)
    }

    /// Brings letters to the second ledger that the store has written.
    async fn keep(&self, changed: Vec<Changed>) -> Result<(), StoreError> {
        let entries = changed.iter().map(|letter| letter.entry.clone()).collect();
        let kept = self.second.write_notes(entries, Vec::new()).await;
        kept.map_err(unkept)?;
        let notes = changed.iter().map(|letter| {
            let key = unkept_key(letter.id);
            let as_left = ExpectedNote::value(key.clone(), letter.version.to_be_bytes());
            (NoteChange::delete(key), as_left)
        });
        let (gone, as_left) = notes.unzip();
        match self.store.write_notes(gone, as_left).await {
            // A later write of one of them may have come to the second ledger first.
            Ok(false) => {
                for letter in changed {
                    self.keep_as_it_is(letter.id).await?;
                }
                Ok(())
            }
            // They are kept; a sweep removes the notes.
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Brings all letters to the second ledger that it does not have as the store has them.
    pub(super) async fn keep_all(&self) -> Result<(), StoreError> {
        self.keep_unkept(|_| true).await
    }

    /// Brings the letters of dead rows to the second ledger: a caller that hears of a death may give up
    /// the message.
    pub(super) async fn keep_those_of(&self, rows: &Rows) -> Result<(), StoreError> {
        let rows = rows.rows.iter().flatten().flatten();
        let dead = rows.filter_map(|row| dead_as(row.record.as_ref()?));
        let dead: HashSet<_, RandomState> = dead.collect();
        if dead.is_empty() {
            return Ok(());
        }
        self.keep_unkept(|letter| dead.contains(letter)).await
    }

    /// Goes through the notes, and brings the wanted ones of their letters to the second ledger.
    async fn keep_unkept(
        &self,
        is_wanted: impl Fn(&DeadLetterId) -> bool + Send + Sync,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let notes = self.store.notes(UNKEPT.into(), after.take(), PAGE).await?;
            for letter in notes.iter().filter_map(letter_of).filter(&is_wanted) {
                self.keep_as_it_is(letter).await?;
            }
            if notes.len() < PAGE {
                return Ok(());
            }
            after = notes.last().map(|note| note.key.clone());
        }
    }

    /// Makes the second ledger say of a letter what the store says.
    async fn keep_as_it_is(&self, id: DeadLetterId) -> Result<(), StoreError> {
        let key = unkept_key(id);
        loop {
            let notes = self.store.notes(key.clone(), None, 1).await?;
            let note = notes.into_iter().find(|note| note.key == key);
            let letter = self.store.letter(id).await?;
            let entry = match &letter {
                None => NoteChange::delete(self.key(id)),
                Some(letter) => {
                    let mut read = self.store.read(vec![letter.record_id()]).await?;
                    let row = read.rows.pop().transpose().map_err(super::refused)?;
                    let record = row.flatten().and_then(|row| row.record);
                    let record = record.filter(|record| dead_as(record) == Some(id));
                    let record = record.map(|record| record.encode()).transpose();
                    self.entry(letter, record.map_err(super::refused)?.as_deref())?
                }
            };
            let kept = self.second.write_notes(vec![entry], Vec::new()).await;
            kept.map_err(unkept)?;
            if self.store.letter(id).await? != letter {
                // It was changed meanwhile, and what was written may have replaced what came of that.
                continue;
            }
            if let Some(note) = note {
                let gone = vec![NoteChange::delete(key.clone())];
                let as_read = vec![ExpectedNote::value(key, note.value)];
                self.store.write_notes(gone, as_read).await?;
            }
            return Ok(());
        }
    }

    /// Returns what the second ledger has to have of a letter: only open ones, whose records are dead.
    fn entry(&self, letter: &DeadLetter, record: Option<&[u8]>) -> Result<NoteChange, StoreError> {
        let key = self.key(letter.id);
        match record {
            Some(record) if letter.state == LetterState::Open => {
                Ok(NoteChange::put(key, encode(record, letter)?))
            }
            _ => Ok(NoteChange::delete(key)),
        }
    }
}

/// Returns the open letter of a record.
pub(super) fn dead_as(record: &Record) -> Option<DeadLetterId> {
    match record {
        Record::Settled(settled) => match settled.end {
            Settlement::Dead(letter) => Some(letter),
            _ => None,
        },
        Record::Live(_) => None,
    }
}

fn letter_of(note: &Note) -> Option<DeadLetterId> {
    note.key.strip_prefix(UNKEPT)?.parse().ok()
}

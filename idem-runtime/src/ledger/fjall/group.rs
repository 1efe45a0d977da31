//! A group: what several requests write, in one commit.

use jiff::Timestamp;

use super::db::{Changes, Db, prefix};
use super::rows::{
    CLOSED, LIVE, META, Meta, REMOVED, SETTLED, Stored, WAITING, address_in, due_key, encode, index_key, letter_key,
    note_key, time_in,
};
use crate::ledger::folder::record_key::RecordKey;
use crate::ledger::shared::{Runner, Write};
use crate::ledger::{ExpectedNote, LedgerError, NoteChange, unnotified_key};
use crate::protocol::note::number_of;
use crate::protocol::{DeadLetter, DeadLetterId};

/// What is written, and what changes in memory once it is durable.
#[derive(Default)]
pub(super) struct Edits {
    pub(super) rows: Changes,
    /// The rows whose owners are other ones now.
    pub(super) owners: Vec<(RecordKey, Option<Runner>)>,
    /// How many more letters are open.
    pub(super) opened: i64,
}

impl Edits {
    fn add(&mut self, later: &mut Self) {
        self.rows.extend(later.rows.drain());
        self.owners.append(&mut later.owners);
        self.opened += std::mem::take(&mut later.opened);
    }
}

/// A group that is being decided. What a request has written is read by the next one.
pub(super) struct Group<'d> {
    db: &'d Db,
    pub(super) meta: &'d mut Meta,
    /// What the requests before wrote.
    kept: Edits,
    /// What this request has written so far.
    own: Edits,
}

impl<'d> Group<'d> {
    pub(super) fn new(db: &'d Db, meta: &'d mut Meta) -> Self {
        Self {
            db,
            meta,
            kept: Edits::default(),
            own: Edits::default(),
        }
    }

    /// Keeps what a request has written, or forgets it.
    pub(super) fn end_request(&mut self, keep: bool) {
        match keep {
            true => self.kept.add(&mut self.own),
            false => self.own = Edits::default(),
        }
    }

    /// Returns what is to be written, with the number of the group, if it is anything.
    pub(super) fn finish(mut self) -> Option<Edits> {
        if self.kept.rows.is_empty() {
            return None;
        }
        self.meta.group += 1;
        self.kept.rows.insert(META.to_vec(), Some(self.meta.encode()));
        Some(self.kept)
    }

    fn get<T>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, LedgerError> {
        match self.own.rows.get(key).or_else(|| self.kept.rows.get(key)) {
            Some(written) => Ok(read(written.as_deref())),
            None => Ok(read(self.db.get(key)?.as_deref())),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.own.rows.insert(key, Some(value));
    }

    fn remove(&mut self, key: Vec<u8>) {
        // fjall panics at a longer one, and there is none.
        if u16::try_from(key.len()).is_ok() {
            self.own.rows.insert(key, None);
        }
    }

    /// Reserves numbers, and returns the first.
    pub(super) fn reserve(&mut self, count: u64) -> u64 {
        let first = self.meta.reserved + 1;
        self.meta.reserved += count;
        // The group is written for its numbers alone.
        let meta = self.meta.encode();
        self.put(META.to_vec(), meta);
        first
    }

    /// Makes a write if its row is as expected, and returns whether it was.
    pub(super) fn write(&mut self, write: &Write) -> Result<bool, LedgerError> {
        let address = RecordKey::new(&write.id);
        let before = match self.get(&address.in_kind(LIVE), |row| row.map(Before::read))? {
            Some(before) => Some((before?, true)),
            None => {
                let settled = self.get(&address.in_kind(SETTLED), |row| row.map(Before::read))?;
                settled.transpose()?.map(|before| (before, false))
            }
        };
        if before.as_ref().map(|(before, _)| before.version) != write.expected {
            return Ok(false);
        }
        if let Some(letter) = &write.letter
            && !self.put_letter(&letter.letter, letter.is_new)?
        {
            return Ok(false);
        }
        if let Some((before, was_live)) = &before {
            self.forget(&address, before, *was_live, write.live);
        }
        let kind = if write.live { LIVE } else { SETTLED };
        self.put(address.in_kind(kind), encode(write, &address));
        if let Some(due) = write.due {
            self.put(due_key(write.live, due.as_microsecond(), &address), Vec::new());
        }
        if let Some(since) = write.waiting {
            let since = since.as_microsecond().to_be_bytes().to_vec();
            self.put(address.in_kind(WAITING), since);
        }
        if write.owner.is_some() || before.is_some_and(|(before, _)| before.has_owner) {
            self.own.owners.push((address, write.owner.clone()));
        }
        self.write_notes(&write.notes);
        Ok(true)
    }

    /// Removes what stands for a row as it was, apart from what is written over.
    fn forget(&mut self, address: &RecordKey, before: &Before, was_live: bool, is_live: bool) {
        if let Some(due) = before.due {
            self.remove(due_key(was_live, due, address));
        }
        if before.waits {
            self.remove(address.in_kind(WAITING));
        }
        if was_live != is_live {
            self.remove(address.in_kind(if was_live { LIVE } else { SETTLED }));
        }
    }

    /// Writes a letter, unless it is one that should be there and is not.
    fn put_letter(&mut self, letter: &DeadLetter, is_new: bool) -> Result<bool, LedgerError> {
        let key = letter_key(letter.id);
        let before = self.get(&key, |before| before.map(DeadLetter::decode))?.transpose()?;
        if before.is_none() && !is_new {
            return Ok(false);
        }
        if let Some(before) = before {
            self.own.opened -= i64::from(before.closed_at.is_none());
            self.remove(index_key(&before));
        }
        self.own.opened += i64::from(letter.closed_at.is_none());
        self.put(key, letter.encode()?);
        self.put(index_key(letter), Vec::new());
        Ok(true)
    }

    /// Writes notes if these are as expected, and returns whether they were.
    pub(super) fn write_notes_if(
        &mut self,
        changes: &[NoteChange],
        expected: &[ExpectedNote],
    ) -> Result<bool, LedgerError> {
        for note in expected {
            if !self.get(&note_key(&note.key), |value| value == note.value.as_deref())? {
                return Ok(false);
            }
        }
        self.write_notes(changes);
        Ok(true)
    }

    fn write_notes(&mut self, changes: &[NoteChange]) {
        for change in changes {
            let noted = &mut self.meta.noted;
            let key = change.key(|| {
                *noted += 1;
                *noted
            });
            match change.value() {
                Some(value) => {
                    *noted = number_of(&key).unwrap_or(0).max(*noted);
                    self.put(note_key(&key), value.to_vec());
                }
                None => self.remove(note_key(&key)),
            }
        }
    }

    /// Removes rows that are due and not live. Returns how many.
    pub(super) fn remove_due(&mut self, limit: usize, now: Timestamp) -> Result<u64, LedgerError> {
        let mut removed = 0;
        for key in self.due(REMOVED, now, limit)? {
            let address = RecordKey::from_bytes(address_in(&key));
            let settled = address.in_kind(SETTLED);
            let due = self.get(&settled, |row| row.map(|row| Before::read(row).map(|row| row.due)))?;
            // A request before this one may have written it.
            if due.transpose()?.flatten() == Some(time_in(&key)) {
                self.remove(settled);
                self.remove(key);
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes letters that were closed by then. Returns how many.
    pub(super) fn remove_letters(&mut self, until: Timestamp, limit: usize) -> Result<u64, LedgerError> {
        let mut removed = 0;
        for key in self.due(CLOSED, until, limit)? {
            let Ok(id) = address_in(&key).try_into().map(DeadLetterId::from_bytes) else {
                continue;
            };
            if self.get(&key, |there| there.is_some())? {
                self.remove(letter_key(id));
                self.remove(note_key(&unnotified_key(id)));
                self.remove(key);
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Returns the first keys of an index that are not later than a time.
    fn due(&self, index: u8, until: Timestamp, limit: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        let mut keys = Vec::new();
        let end = until.as_microsecond();
        self.db.scan(prefix(&[index]), |key, _| {
            let is_due = time_in(key) <= end && keys.len() < limit;
            if is_due {
                keys.push(key.to_vec());
            }
            Ok(is_due)
        })?;
        Ok(keys)
    }
}

/// What a write needs to know of a row as it was.
struct Before {
    version: u64,
    due: Option<i64>,
    waits: bool,
    has_owner: bool,
}

impl Before {
    fn read(row: &[u8]) -> Result<Self, LedgerError> {
        let row = Stored::read(row)?;
        Ok(Self {
            version: row.version,
            due: row.due,
            waits: row.waiting.is_some(),
            has_owner: row.owner.is_some(),
        })
    }
}

//! A group: what several requests write, in one commit.

use std::collections::BTreeMap;

use fjall::Slice;
use jiff::Timestamp;

use super::db::{Changes, Db, prefix};
use super::owned::{Held, Owned};
use super::rows::{
    CLOSED, DUE, EXPIRING, META, Meta, ROW, Stored, WAITING, add_to_list, address_in, encode,
    in_list, index_key, letter_key, note_key, owned_key, time_in, time_key,
};
use crate::ledger::folder::record_key::RecordKey;
use crate::ledger::shared::{Runner, Write};
use crate::ledger::{ExpectedNote, LedgerError, NoteChange, unnotified_key};
use crate::protocol::note::number_of;
use crate::protocol::{DeadLetter, DeadLetterId};

/// A write, with its row encoded.
pub(super) struct Encoded {
    row: RecordKey,
    key: Slice,
    value: Slice,
    write: Write,
}

impl Encoded {
    pub(super) fn new(mut write: Write) -> Self {
        let row = RecordKey::new(&write.id);
        let (key, value) = (row.in_kind(ROW).into(), encode(&write, &row).into());
        write.record = None;
        Self {
            row,
            key,
            value,
            write,
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.write.version
    }
}

/// How far apart the rows of one list may be due, in microseconds.
const ABOUT: i64 = 60_000_000;

/// What is written, and what changes in memory once it is durable.
#[derive(Default)]
pub(super) struct Edits {
    pub(super) rows: Changes,
    /// What belongs to the rows, and all else.
    pub(super) others: Changes,
    /// The rows that have an owner now, or had one.
    pub(super) owned: Vec<(RecordKey, Option<Held>)>,
    /// The rows that are to be removed, by when about, and when the first of them is.
    expiring: BTreeMap<i64, (i64, Vec<RecordKey>)>,
    /// How many more letters are open.
    pub(super) opened: i64,
}

impl Edits {
    fn add(&mut self, later: &mut Self) {
        for (all, later) in [
            (&mut self.rows, &mut later.rows),
            (&mut self.others, &mut later.others),
        ] {
            match all.is_empty() {
                true => std::mem::swap(all, later),
                false => all.extend(later.drain()),
            }
        }
        self.owned.append(&mut later.owned);
        self.opened += std::mem::take(&mut later.opened);
        for (about, (first, mut rows)) in std::mem::take(&mut later.expiring) {
            let list = self.expiring.entry(about).or_insert((first, Vec::new()));
            list.0 = list.0.min(first);
            list.1.append(&mut rows);
        }
    }

    fn expire(&mut self, row: RecordKey, due: i64) {
        let list = self
            .expiring
            .entry(due / ABOUT)
            .or_insert((due, Vec::new()));
        list.0 = list.0.min(due);
        list.1.push(row);
    }
}

/// A group that is being decided. What a request has written is read by the next one.
pub(super) struct Group<'d> {
    db: &'d Db,
    /// The rows that have owners, as the group before left them.
    owned: &'d Owned,
    pub(super) meta: &'d mut Meta,
    /// What the requests before wrote.
    kept: Edits,
    /// What this request has written so far.
    own: Edits,
}

impl<'d> Group<'d> {
    pub(super) fn new(db: &'d Db, owned: &'d Owned, meta: &'d mut Meta) -> Self {
        Self {
            db,
            owned,
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

    /// Returns what is to be written, if it is anything: with the lists, and the number of the group.
    pub(super) fn finish(mut self) -> Option<Edits> {
        let mut edits = std::mem::take(&mut self.kept);
        if edits.rows.is_empty() && edits.others.is_empty() {
            return None;
        }
        self.meta.group += 1;
        let others = &mut edits.others;
        let emptied = self.owned.emptied();
        others.extend(emptied.map(|group| (owned_key(group).into(), None)));
        let mut list = Vec::new();
        for (row, held) in &mut edits.owned {
            if let Some(held) = held {
                held.group = self.meta.group;
                add_to_list(&mut list, row);
            }
        }
        if !list.is_empty() {
            others.insert(owned_key(self.meta.group).into(), Some(list.into()));
        }
        let number = self.meta.group.to_be_bytes();
        for (first, expiring) in std::mem::take(&mut edits.expiring).into_values() {
            let mut list = Vec::new();
            expiring.iter().for_each(|row| add_to_list(&mut list, row));
            let key = time_key(EXPIRING, first, &number);
            others.insert(key.into(), Some(list.into()));
        }
        others.insert(META.into(), Some(self.meta.encode().into()));
        Some(edits)
    }

    fn get<T>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, LedgerError> {
        let written = match key.first() {
            Some(&ROW) => self.own.rows.get(key).or_else(|| self.kept.rows.get(key)),
            _ => self
                .own
                .others
                .get(key)
                .or_else(|| self.kept.others.get(key)),
        };
        match written {
            Some(written) => Ok(read(written.as_deref())),
            None => Ok(read(self.db.get(key)?.as_deref())),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.own.others.insert(key.into(), Some(value.into()));
    }

    fn remove(&mut self, key: Vec<u8>) {
        // fjall panics at a longer one, and there is none.
        if u16::try_from(key.len()).is_ok() {
            self.own.others.insert(key.into(), None);
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
    pub(super) fn write(&mut self, write: Encoded) -> Result<bool, LedgerError> {
        let Encoded {
            row,
            key,
            value,
            write,
        } = write;
        let before = self.before(&row, &key)?;
        if before.map(|before| before.version) != write.expected {
            return Ok(false);
        }
        if let Some(letter) = &write.letter
            && !self.put_letter(&letter.letter, letter.is_new)?
        {
            return Ok(false);
        }
        if let Some(before) = before {
            if let Some(due) = before.due.filter(|_| before.is_live) {
                self.remove(time_key(DUE, due, row.bytes()));
            }
            if before.waits {
                self.remove(row.in_kind(WAITING));
            }
        }
        self.own.rows.insert(key, Some(value));
        if let Some(since) = write.waiting {
            let since = since.as_microsecond().to_be_bytes().to_vec();
            self.put(row.in_kind(WAITING), since);
        }
        match write.due.map(Timestamp::as_microsecond) {
            Some(due) if write.live => self.put(time_key(DUE, due, row.bytes()), Vec::new()),
            Some(due) => self.own.expire(row.clone(), due),
            None => {}
        }
        let held = write.owner.as_ref().map(|owner| Held {
            owner: Runner::clone(owner),
            row: Before::of(&write),
            group: 0,
        });
        if held.is_some() || before.is_some_and(|before| before.has_owner) {
            self.own.owned.push((row, held));
        }
        self.write_notes(&write.notes);
        Ok(true)
    }

    /// Returns what a write needs to know of a row as it is.
    fn before(&self, row: &RecordKey, key: &[u8]) -> Result<Option<Before>, LedgerError> {
        if !self.own.rows.contains_key(key)
            && !self.kept.rows.contains_key(key)
            && let Some(held) = self.owned.get(row)
        {
            return Ok(Some(held.row));
        }
        self.get(key, |row| row.map(Before::read).transpose())?
    }

    /// Writes a letter, unless it is one that should be there and is not.
    fn put_letter(&mut self, letter: &DeadLetter, is_new: bool) -> Result<bool, LedgerError> {
        let key = letter_key(letter.id);
        let before = self
            .get(&key, |before| before.map(DeadLetter::decode))?
            .transpose()?;
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
        let (mut removed, now) = (0, now.as_microsecond());
        for (key, list) in self.due(EXPIRING, now, limit)? {
            if removed == limit {
                break;
            }
            // A request before this one may have been through it.
            if !self.get(&key, |list| list.is_some())? {
                continue;
            }
            for row in in_list(&list) {
                let key = row.in_kind(ROW);
                let before = self.before(&row, &key)?.filter(|before| !before.is_live);
                // One that was written since stands in another list too.
                match before.and_then(|before| before.due) {
                    Some(due) if due > now || removed == limit => self.own.expire(row, due),
                    Some(_) => {
                        self.own.rows.insert(key.into(), None);
                        removed += 1;
                    }
                    None => {}
                }
            }
            self.remove(key);
        }
        Ok(removed as u64)
    }

    /// Removes letters that were closed by then. Returns how many.
    pub(super) fn remove_letters(
        &mut self,
        until: Timestamp,
        limit: usize,
    ) -> Result<u64, LedgerError> {
        let mut removed = 0;
        for (key, _) in self.due(CLOSED, until.as_microsecond(), limit)? {
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

    /// Returns the first pairs of an index that are not later than a time.
    fn due(&self, index: u8, until: i64, limit: usize) -> Result<Vec<Pair>, LedgerError> {
        let mut pairs = Vec::new();
        self.db.scan(prefix(&[index]), |key, value| {
            let is_due = time_in(key) <= until && pairs.len() < limit;
            if is_due {
                pairs.push((key.to_vec(), value.to_vec()));
            }
            Ok(is_due)
        })?;
        Ok(pairs)
    }
}

/// A key, and what stands there.
type Pair = (Vec<u8>, Vec<u8>);

/// What a write needs to know of a row as it was.
#[derive(Clone, Copy)]
pub(super) struct Before {
    version: u64,
    is_live: bool,
    due: Option<i64>,
    waits: bool,
    has_owner: bool,
}

impl Before {
    fn read(row: &[u8]) -> Result<Self, LedgerError> {
        Stored::read(row).map(|row| Self::stored(&row))
    }

    pub(super) fn stored(row: &Stored<'_>) -> Self {
        Self {
            version: row.version,
            is_live: row.is_live,
            due: row.due,
            waits: row.waiting.is_some(),
            has_owner: row.owner.is_some(),
        }
    }

    pub(super) fn of(write: &Write) -> Self {
        Self {
            version: write.version,
            is_live: write.live,
            due: write.due.map(Timestamp::as_microsecond),
            waits: write.waiting.is_some(),
            has_owner: write.owner.is_some(),
        }
    }
}

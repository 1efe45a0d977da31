//! What the store in memory keeps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::time::Duration;

use foldhash::fast::RandomState;
use jiff::{SignedDuration, Timestamp};

use super::refused;
use crate::clock::after;
use crate::ledger::shared::{Owner, Row, Rows, Runner, StoreError, StoreErrorKind, Write, Written};
use crate::ledger::{ExpectedNote, LedgerError, Note, NoteChange, Waiting, unnotified_key};
use crate::protocol::note::number_of;
use crate::protocol::{DeadLetter, DeadLetterId, Record, RecordId};

/// How often a [`MemoryStore`](super::MemoryStore) was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// The reads of rows.
    pub reads: u64,
    /// The rows that were asked for in them.
    pub rows_read: u64,
    /// The batches.
    pub writes: u64,
    /// The writes in them.
    pub rows_written: u64,
    /// The writes in the largest batch.
    pub largest: usize,
}

/// Records and letters are kept encoded, as by a server.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) rows: BTreeMap<RecordId, StoredRow>,
    pub(super) letters: BTreeMap<DeadLetterId, Vec<u8>>,
    pub(super) notes: BTreeMap<String, Vec<u8>>,
    /// The rows of the test's own.
    pub(super) own: BTreeMap<String, Vec<u8>>,
    pub(super) calls: Calls,
    runners: HashMap<Runner, Life, RandomState>,
    /// The last number that was reserved.
    reserved: u64,
    /// The last number of a note.
    noted: u64,
    connections: u64,
    /// The latest time that was told.
    told: Timestamp,
    /// How far its time is ahead of the clock, which has stepped back.
    ahead: SignedDuration,
}

pub(super) struct StoredRow {
    pub(super) version: u64,
    record: Option<Vec<u8>>,
    live: bool,
    due: Option<Timestamp>,
    waiting: Option<Timestamp>,
    owner: Option<Runner>,
}

/// What is known of a runner.
struct Life {
    /// The end of its lease; `None` when it is dead.
    until: Option<Timestamp>,
    /// None of its rows has a smaller version.
    oldest: u64,
}

impl Life {
    fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

impl Kept {
    pub(super) fn connect(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// Returns the time. When the clock steps back, it goes on from where it was.
    pub(super) fn time(&mut self, clock: Timestamp) -> Timestamp {
        if clock + self.ahead < self.told {
            self.ahead = self.told.duration_since(clock);
        }
        self.told = clock + self.ahead;
        self.told
    }

    pub(super) fn read(&mut self, ids: &[RecordId], now: Timestamp) -> Rows {
        self.calls.reads += 1;
        self.calls.rows_read += ids.len() as u64;
        let rows = ids.iter().map(|id| self.row(id)).collect();
        Rows { rows, now }
    }

    fn row(&self, id: &RecordId) -> Result<Option<Row>, LedgerError> {
        let Some(row) = self.rows.get(id) else {
            return Ok(None);
        };
        Ok(Some(Row {
            version: row.version,
            due: row.due,
            record: row.record.as_deref().map(Record::decode).transpose()?,
            owner: match &row.owner {
                None => Owner::None,
                Some(runner) => self.owner(runner),
            },
        }))
    }

    fn owner(&self, runner: &Runner) -> Owner {
        let until = self.runners.get(runner).and_then(|life| life.until);
        until.map_or(Owner::Dead, |until| {
            Owner::Until(Runner::clone(runner), until)
        })
    }

    /// Makes those writes of a batch whose rows are as expected. Returns their rows too.
    ///
    /// # Panics
    /// When a batch writes a row twice: the caller is wrong.
    pub(super) fn write(
        &mut self,
        runner: &Runner,
        writes: Vec<Write>,
        now: Timestamp,
    ) -> Result<(Written, Vec<RecordId>), StoreError> {
        self.calls.writes += 1;
        self.calls.rows_written += writes.len() as u64;
        self.calls.largest = self.calls.largest.max(writes.len());
        self.must_live(runner)?;
        let ids: HashSet<_> = writes.iter().map(|write| &write.id).collect();
        assert_eq!(ids.len(), writes.len(), "a batch writes one row twice");
        let (mut versions, mut rows) = (Vec::new(), Vec::new());
        // Nothing takes place if one of them is bad.
        let letters = writes
            .iter()
            .map(encoded_letter)
            .collect::<Result<Vec<_>, _>>()?;
        for (write, letter) in writes.into_iter().zip(letters) {
            if self.is_as_expected(&write) {
                versions.push(write.version);
                rows.push(write.id.clone());
                self.put(write, letter);
            }
        }
        Ok((Written { versions, now }, rows))
    }

    pub(super) fn must_live(&self, runner: &Runner) -> Result<(), StoreError> {
        match self.owner(runner) {
            Owner::Dead => Err(StoreError::new(
                StoreErrorKind::RunnerDead,
                format!("the runner `{runner}` was marked dead"),
            )),
            Owner::None | Owner::Until(..) => Ok(()),
        }
    }

    pub(super) fn version(&self, id: &RecordId) -> Option<u64> {
        self.rows.get(id).map(|row| row.version)
    }

    pub(super) fn is_as_expected(&self, write: &Write) -> bool {
        self.version(&write.id) == write.expected && self.has_letter(write)
    }

    pub(super) fn has_letter(&self, write: &Write) -> bool {
        write
            .letter
            .as_ref()
            .is_none_or(|write| write.is_new || self.letters.contains_key(&write.letter.id))
    }

    /// Makes a write whose row is as expected.
    ///
    /// # Panics
    /// When its version is not larger than the row's, or smaller than the
    /// [oldest](crate::ledger::shared::Store::beat) of its owner: the caller is wrong.
    pub(super) fn put(&mut self, write: Write, letter: Option<Vec<u8>>) {
        assert!(
            write.expected.is_none_or(|before| before < write.version),
            "versions grow"
        );
        let owner = write.owner.as_ref().and_then(|by| self.runners.get(by));
        assert!(
            owner.is_none_or(|by| by.oldest <= write.version),
            "a claim is older than its runner's oldest"
        );
        if let (Some(written), Some(letter)) = (&write.letter, letter) {
            self.letters.insert(written.letter.id, letter);
        }
        self.write_notes(&write.notes);
        let row = StoredRow {
            version: write.version,
            record: write.record,
            live: write.live,
            due: write.due,
            waiting: write.waiting,
            owner: write.owner,
        };
        self.rows.insert(write.id, row);
    }

    pub(super) fn spoil(&mut self, id: &RecordId) -> bool {
        let record = self.rows.get_mut(id).and_then(|row| row.record.as_mut());
        record.is_some_and(|record| {
            *record = b"\xffspoilt".to_vec();
            true
        })
    }

    pub(super) fn reserve(&mut self, count: u64) -> u64 {
        let first = self.reserved + 1;
        self.reserved += count;
        first
    }

    pub(super) fn beat(
        &mut self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        if self.runners.contains_key(runner) {
            self.must_live(runner)?;
        }
        let until = Some(after(now, lease));
        let life = Life { until, oldest };
        self.runners.insert(Runner::clone(runner), life);
        Ok(now)
    }

    pub(super) fn retire(
        &mut self,
        runner: &Runner,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let is_late = match self.owner(runner) {
            Owner::Until(_, lease) => until.is_none_or(|until| lease == until && lease <= now),
            Owner::Dead | Owner::None => true,
        };
        if is_late {
            let life = self.runners.entry(Runner::clone(runner));
            let life = life.or_insert(Life {
                until: None,
                oldest: 0,
            });
            life.until = None;
        }
        is_late
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.rows.values().filter_map(|row| row.waiting).collect()
    }

    pub(super) fn due(
        &self,
        behind: Option<&RecordId>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<RecordId> {
        let is_left = |row: &StoredRow| {
            row.owner.as_ref().is_some_and(|owner| {
                self.runners
                    .get(owner)
                    .is_none_or(|life| life.is_over(now) && life.oldest <= row.version)
            })
        };
        let is_due =
            |row: &StoredRow| row.live && (row.due.is_some_and(|due| due <= now) || is_left(row));
        let start = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.range((start, Bound::Unbounded));
        let due = rows
            .filter(|(_, row)| is_due(row))
            .map(|(id, _)| id.clone());
        due.take(limit).collect()
    }

    pub(super) fn remove_due(&mut self, limit: usize, now: Timestamp) -> u64 {
        let is_due = |row: &StoredRow| !row.live && row.due.is_some_and(|due| due <= now);
        let due = self.rows.extract_if(.., |_, row| is_due(row));
        due.take(limit).count() as u64
    }

    pub(super) fn remove_letters(&mut self, letters: &[DeadLetter]) {
        for letter in letters {
            self.letters.remove(&letter.id);
            self.notes.remove(&unnotified_key(letter.id));
        }
    }

    pub(super) fn notes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Note> {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.notes
            .range::<str, _>((start, Bound::Unbounded))
            .skip_while(|(key, _)| key.as_str() < prefix)
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| Note {
                key: key.clone(),
                value: value.clone(),
            })
            .collect()
    }

    pub(super) fn write_notes_if(
        &mut self,
        changes: &[NoteChange],
        expected: &[ExpectedNote],
    ) -> bool {
        let as_expected = expected
            .iter()
            .all(|note| self.notes.get(&note.key) == note.value.as_ref());
        if as_expected {
            self.write_notes(changes);
        }
        as_expected
    }

    fn write_notes(&mut self, changes: &[NoteChange]) {
        for change in changes {
            let key = change.key(|| {
                self.noted += 1;
                self.noted
            });
            match change.value() {
                Some(value) => {
                    self.noted = self.noted.max(number_of(&key).unwrap_or(0));
                    self.notes.insert(key.into_owned(), value.to_vec());
                }
                None => drop(self.notes.remove(&*key)),
            }
        }
    }
}

pub(super) fn encoded_letter(write: &Write) -> Result<Option<Vec<u8>>, StoreError> {
    let letter = write.letter.as_ref().map(|write| write.letter.encode());
    letter.transpose().map_err(|error| refused(&error))
}

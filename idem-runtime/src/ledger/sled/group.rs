//! A group: jobs that are decided one after the other and written together.

mod location;
mod take_over;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use minicbor::bytes::{ByteSlice, ByteVec};
use parking_lot::RwLock;

use super::batch::Batch;
use super::buckets::{BucketWriter, Buckets};
use super::filters::{Bucket, Index};
use super::job::{Answer, Job};
use super::journal::{Draft, Journal, Moves, Running};
use super::layout::{CLOSED_LETTER, Meta, OPEN_LETTER, RecordKey, letter_key, note_key};
use super::store::Store;
use super::undo::{Undo, may_take_back};
use crate::ledger::{ExpectedNote, LedgerError, NoteChange, unnotified_key};
use crate::protocol::{
    Action, ActionKind, Change, DeadLetter, DeadLetterId, Facts, LetterChange, LetterState, Record,
    RecordId, Reply, Step, decide,
};
use location::Location;

/// The committer's state of the ledger. A group changes it in place: if the group cannot be
/// written, all of it is read again.
pub(super) struct State {
    pub(super) meta: Meta,
    pub(super) journal: Journal,
    pub(super) buckets: Buckets,
}

/// A group that is ready to be written.
pub(super) struct Finished<'s> {
    pub(super) batch: Batch<'s>,
    /// The settled records that it changes.
    pub(super) settles: Vec<RecordKey>,
    /// The changes to make once it is durable.
    pub(super) moves: Moves,
    pub(super) closed: Vec<Arc<Bucket>>,
    /// The changes to take back if its callers are told that it was not written.
    pub(super) undo: Undo,
}

/// A group that is being put together.
pub(super) struct Group<'a, 's> {
    store: &'s Store,
    index: &'a Index,
    running: &'a RwLock<Running>,
    pub(super) state: &'a mut State,
    pub(super) batch: Batch<'s>,
    draft: Draft,
    changed: HashMap<RecordKey, (Option<Record>, Location), foldhash::fast::RandomState>,
    pub(super) now: Timestamp,
    undo: Undo,
}

impl<'a, 's> Group<'a, 's> {
    pub(super) fn new(
        store: &'s Store,
        index: &'a Index,
        running: &'a RwLock<Running>,
        state: &'a mut State,
        now: Timestamp,
    ) -> Self {
        Self {
            store,
            index,
            running,
            state,
            batch: Batch::on(store),
            draft: Draft::default(),
            changed: HashMap::default(),
            now,
            undo: Undo::default(),
        }
    }

    /// Decides a job. An error is the store's; one record that cannot be read does not stop the
    /// others.
    pub(super) fn take(&mut self, job: Job, facts: &mut Facts) -> Result<Answer, LedgerError> {
        facts.token = self.state.meta.number + 1;
        self.undo.takes_notes = matches!(job, Job::Notes { .. });
        match job {
            Job::Step {
                id,
                record_key,
                step,
                done,
            } => match self.step(&id, record_key, &step, facts) {
                Err(error) if !matches!(error, LedgerError::Record { .. }) => {
                    drop(done.send(Err(error.clone())));
                    Err(error)
                }
                decided => Ok(Answer::Step(done, decided)),
            },
            Job::Expire {
                limit,
                letters,
                retention,
                done,
            } => match self.expire(limit, &letters, retention) {
                Err(error) => {
                    drop(done.send(Err(error.clone())));
                    Err(error)
                }
                expired => Ok(Answer::Expire(done, expired)),
            },
            Job::Notes {
                changes,
                expected,
                done,
            } => match self.write_guarded(&changes, &expected) {
                Err(error) => {
                    drop(done.send(Err(error.clone())));
                    Err(error)
                }
                Ok(written) => Ok(Answer::Notes(done, written)),
            },
            Job::Import {
                items,
                numbers,
                done,
            } => match self.take_over(items, numbers) {
                Err(error) => {
                    drop(done.send(Err(error.clone())));
                    Err(error)
                }
                Ok(taken) => Ok(Answer::Import(done, taken)),
            },
        }
    }

    /// Returns the batch with the journal's entries, and its effects. `None` if nothing changes.
    pub(super) fn finish(mut self) -> Result<Option<Finished<'s>>, LedgerError> {
        if self.batch.is_empty() && self.draft.is_empty() {
            return Ok(None);
        }
        self.state.meta.group += 1;
        let closed = self.bucket_writer().close()?;
        let State {
            meta,
            journal,
            buckets,
        } = self.state;
        buckets.note(meta);
        let still = |record_key: &RecordKey, token: u64| match self
            .changed
            .entry(record_key.clone())
        {
            Entry::Occupied(known) if matches!(known.get().1, Location::Journal(now) if now == token) => {
                known.remove().0.and_then(Record::live)
            }
            _ => None,
        };
        let moves = journal.write(
            self.draft,
            &self.running.read(),
            meta,
            &mut self.batch,
            still,
        )?;
        let settles = self.changed.into_keys().collect();
        Ok(Some(Finished {
            batch: self.batch,
            settles,
            moves,
            closed,
            undo: self.undo,
        }))
    }

    fn bucket_writer(&mut self) -> BucketWriter<'_, 's> {
        let State { meta, buckets, .. } = self.state;
        BucketWriter {
            buckets,
            index: self.index,
            batch: &mut self.batch,
            meta,
            now: self.now,
        }
    }

    fn step(
        &mut self,
        id: &RecordId,
        record_key: RecordKey,
        step: &Step,
        facts: &Facts,
    ) -> Result<Reply, LedgerError> {
        let (record, location) = match self.changed.get(&record_key) {
            Some(known) => known.clone(),
            None => self.load(&record_key)?,
        };
        let before = may_take_back(step).then(|| record.clone());
        let decision = decide(id, record, step, facts);
        self.write_notes(decision.notes(step))?;
        let letter = match decision.letter {
            LetterChange::Keep => None,
            LetterChange::Open(letter) => {
                self.note(&unnotified_key(letter.id), Some(&[]))?;
                self.put_letter(&letter)?;
                None
            }
            LetterChange::Action { letter, act } => match self.act(letter, *act)? {
                Some(before) => Some(before),
                None => return Ok(Reply::LetterNotOpen),
            },
        };
        if letter.is_some() || !matches!(decision.record, Change::Keep) {
            self.undo
                .step(record_key.clone(), before, letter, &decision.reply);
        }
        match decision.record {
            Change::Keep => {}
            Change::Remove => self.replace(record_key, location, None)?,
            Change::Put(record) => self.replace(record_key, location, Some(record))?,
        }
        Ok(decision.reply)
    }

    /// Applies an action to a letter, and moves it among the open or closed ones. Returns the
    /// letter as it was, or `None` if it was closed and has expired, which may be before its record
    /// does.
    fn act(&mut self, id: DeadLetterId, act: Action) -> Result<Option<DeadLetter>, LedgerError> {
        let places = match act.kind {
            ActionKind::Restored => &[CLOSED_LETTER][..],
            ActionKind::Erased => &[OPEN_LETTER, CLOSED_LETTER],
            _ => &[OPEN_LETTER],
        };
        let mut found = None;
        for was in places {
            let letter = self.batch.get::<DeadLetter>(&letter_key(*was, id))?;
            found = found.or(letter.map(|letter| (*was, letter)));
        }
        let Some((was, before)) = found else {
            if places.contains(&CLOSED_LETTER) {
                return Ok(None);
            }
            return Err(LedgerError::Record {
                detail: format!("the dead letter {id} of its record is missing"),
            });
        };
        let mut letter = before.clone();
        letter.act(act);
        if kind_of(&letter) != was {
            self.batch
                .remove(&letter_key(was, id), &mut self.state.meta)?;
        }
        self.put_letter(&letter)?;
        Ok(Some(before))
    }

    pub(super) fn put_letter(&mut self, letter: &DeadLetter) -> Result<(), LedgerError> {
        self.batch
            .put(
                letter_key(kind_of(letter), letter.id),
                letter,
                &mut self.state.meta,
            )
            .map(drop)
    }

    /// Writes notes if others are as expected, and returns whether they are.
    fn write_guarded(
        &mut self,
        changes: &[NoteChange],
        expected: &[ExpectedNote],
    ) -> Result<bool, LedgerError> {
        for ExpectedNote { key, value } in expected {
            let found = self.batch.get::<ByteVec>(&note_key(key))?;
            if found.as_deref().map(Vec::as_slice) != value.as_deref() {
                return Ok(false);
            }
        }
        self.write_notes(changes).map(|()| true)
    }

    fn write_notes(&mut self, changes: &[NoteChange]) -> Result<(), LedgerError> {
        for change in changes {
            let number = &mut self.state.meta.number;
            let key = change.key(|| {
                *number += 1;
                *number
            });
            self.note(&key, change.value())?;
        }
        Ok(())
    }

    /// Writes a note, or removes it.
    pub(super) fn note(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), LedgerError> {
        let (place, meta) = (note_key(key), &mut self.state.meta);
        let is_new = match value {
            Some(value) => !self.batch.put(place, &<&ByteSlice>::from(value), meta)?,
            None => self.batch.remove(&place, meta).map(|()| false)?,
        };
        self.undo.note(key, is_new);
        Ok(())
    }

    fn expire(
        &mut self,
        limit: usize,
        letters: &[Vec<u8>],
        retention: Duration,
    ) -> Result<(u64, bool), LedgerError> {
        let mut expired = self.bucket_writer().expire(limit)? as u64;
        for key in letters {
            let closed = match self.batch.get::<DeadLetter>(key) {
                Ok(closed) => closed,
                Err(LedgerError::Record { .. }) => continue,
                Err(error) => return Err(error),
            };
            if let Some(letter) = closed.filter(|letter| letter.expired(self.now, retention)) {
                self.note(&unnotified_key(letter.id), None)?;
                self.batch.remove(key, &mut self.state.meta)?;
                expired += 1;
            }
        }
        Ok((expired, self.bucket_writer().is_swept()))
    }
}

/// Returns the kind of a letter's key.
pub(super) fn kind_of(letter: &DeadLetter) -> u8 {
    if letter.state == LetterState::Open {
        OPEN_LETTER
    } else {
        CLOSED_LETTER
    }
}

#[cfg(test)]
mod tests;

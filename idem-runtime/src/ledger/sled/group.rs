//! One group: jobs that are decided one after the other and written together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use minicbor::bytes::ByteSlice;
use parking_lot::RwLock;

use super::batch::Batch;
use super::buckets::{Shelf, Shelving};
use super::filters::{Bucket, Found, Index};
use super::job::{Answer, Job};
use super::journal::{Draft, Journal, Moves, Running};
use super::layout::{CLOSED_LETTER, DEAD, LIVE, Meta, OPEN_LETTER, Slot, letter_key, note_key};
use super::store::Store;
use super::undo::{Undo, may_take_back};
use crate::clock;
use crate::ledger::{LedgerError, NoteChange, unnotified_key};
use crate::protocol::{
    Action, ActionKind, Change, DeadLetter, DeadLetterId, Facts, LetterChange, LetterState, Live,
    Record, RecordId, Reply, Settled, Settlement, Step, decide,
};

/// What the committer knows of the ledger. A group changes it in place: when one cannot be written,
/// all of it is read again.
pub(super) struct State {
    pub(super) meta: Meta,
    pub(super) journal: Journal,
    pub(super) shelf: Shelf,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stands {
    Nowhere,
    /// In the journal, under its token.
    Journal(u64),
    /// In a place of its own of this kind.
    Own(u8),
    Bucket(u32),
}

/// A group that is ready to be written.
pub(super) struct Finished<'s> {
    pub(super) batch: Batch<'s>,
    /// The settled records that it changes.
    pub(super) settles: Vec<Slot>,
    /// What follows once it is durable.
    pub(super) moves: Moves,
    pub(super) closed: Vec<Arc<Bucket>>,
    /// What follows when its callers are told that it was not written.
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
    changed: HashMap<Slot, (Option<Record>, Stands), foldhash::fast::RandomState>,
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

    /// Decides a job. An error is the store's; one record that cannot be read is no trouble for the
    /// others.
    pub(super) fn take(&mut self, job: Job, facts: &mut Facts) -> Result<Answer, LedgerError> {
        facts.token = self.state.meta.number + 1;
        self.undo.takes_notes = matches!(job, Job::Notes { .. });
        match job {
            Job::Step {
                id,
                slot,
                step,
                done,
            } => match self.step(&id, slot, &step, facts) {
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
            Job::Notes { changes, done } => match self.write_notes(&changes) {
                Err(error) => {
                    drop(done.send(Err(error.clone())));
                    Err(error)
                }
                Ok(()) => Ok(Answer::Notes(done)),
            },
        }
    }

    /// The batch with the journal's entries in it, and what it changes; nothing where nothing
    /// changes.
    pub(super) fn finish(mut self) -> Result<Option<Finished<'s>>, LedgerError> {
        if self.batch.is_empty() && self.draft.is_empty() {
            return Ok(None);
        }
        self.state.meta.group += 1;
        let closed = self.shelving().close()?;
        let State {
            meta,
            journal,
            shelf,
        } = self.state;
        shelf.note(meta);
        let still = |slot: &Slot, token: u64| match self.changed.entry(slot.clone()) {
            Entry::Occupied(known) if matches!(known.get().1, Stands::Journal(now) if now == token) => {
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

    fn shelving(&mut self) -> Shelving<'_, 's> {
        let State { meta, shelf, .. } = self.state;
        Shelving {
            shelf,
            index: self.index,
            batch: &mut self.batch,
            meta,
            now: self.now,
        }
    }

    fn step(
        &mut self,
        id: &RecordId,
        slot: Slot,
        step: &Step,
        facts: &Facts,
    ) -> Result<Reply, LedgerError> {
        let (record, stands) = match self.changed.get(&slot) {
            Some(known) => known.clone(),
            None => self.load(&slot)?,
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
                .step(slot.clone(), before, letter, &decision.reply);
        }
        match decision.record {
            Change::Keep => {}
            Change::Remove => self.replace(slot, stands, None)?,
            Change::Put(record) => self.replace(slot, stands, Some(record))?,
        }
        Ok(decision.reply)
    }

    /// Does something to a letter, and moves it to where it belongs then. Gives it as it was, or
    /// nothing where a closed one is forgotten, which may be before its record is.
    fn act(&mut self, id: DeadLetterId, act: Action) -> Result<Option<DeadLetter>, LedgerError> {
        let was = if act.kind == ActionKind::Restored {
            CLOSED_LETTER
        } else {
            OPEN_LETTER
        };
        let Some(before) = self.batch.get::<DeadLetter>(&letter_key(was, id))? else {
            if was == CLOSED_LETTER {
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

    /// Puts a note in place, or removes it.
    pub(super) fn note(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), LedgerError> {
        let (place, meta) = (note_key(key), &mut self.state.meta);
        let is_new = match value {
            Some(value) => !self.batch.put(place, &<&ByteSlice>::from(value), meta)?,
            None => self.batch.remove(&place, meta).map(|()| false)?,
        };
        self.undo.note(key, is_new);
        Ok(())
    }

    /// Reads a record that this group has not changed.
    pub(super) fn load(&self, slot: &Slot) -> Result<(Option<Record>, Stands), LedgerError> {
        if let Some(held) = self.running.read().get(slot) {
            let live = held.live.clone();
            let token = live.token;
            return Ok((Some(Record::Live(live)), Stands::Journal(token)));
        }
        let counts = self.state.meta.counts;
        if counts.live > 0
            && let Some(live) = self.store.get::<Live>(&slot.key(LIVE))?
        {
            return Ok((Some(Record::Live(live)), Stands::Own(LIVE)));
        }
        if counts.dead > 0
            && let Some(dead) = self.store.get::<Settled>(&slot.key(DEAD))?
        {
            return Ok((Some(Record::Settled(dead)), Stands::Own(DEAD)));
        }
        Ok(match self.index.find_surely(self.store, slot)? {
            Some(Found { settled, bucket }) => {
                (Some(Record::Settled(settled)), Stands::Bucket(bucket))
            }
            None => (None, Stands::Nowhere),
        })
    }

    /// Moves a record to where it belongs now.
    pub(super) fn replace(
        &mut self,
        slot: Slot,
        stood: Stands,
        record: Option<Record>,
    ) -> Result<(), LedgerError> {
        let meta = &mut self.state.meta;
        // No token is given out twice: the larger one tells which of two results of a key is the
        // later one.
        let token = match &record {
            None => 0,
            Some(Record::Live(live)) => live.token,
            Some(Record::Settled(settled)) => settled.token,
        };
        meta.number = meta.number.max(token);
        let stands = match &record {
            None => Stands::Nowhere,
            Some(Record::Live(live)) => {
                // One that has a place of its own keeps it.
                if !matches!(stood, Stands::Own(LIVE)) && self.draft.takes(&slot, live)? {
                    Stands::Journal(live.token)
                } else {
                    self.batch.put(slot.key(LIVE), live, meta)?;
                    Stands::Own(LIVE)
                }
            }
            Some(Record::Settled(dead)) if matches!(dead.end, Settlement::Dead(_)) => {
                self.batch.put(slot.key(DEAD), dead, meta)?;
                Stands::Own(DEAD)
            }
            Some(Record::Settled(settled)) => {
                Stands::Bucket(self.shelving().settle(&slot, settled)?)
            }
        };
        match stood {
            Stands::Journal(token) if !matches!(stands, Stands::Journal(now) if now == token) => {
                self.draft.end(slot.clone(), token);
            }
            Stands::Own(kind) if !matches!(stands, Stands::Own(now) if now == kind) => {
                self.batch.remove(&slot.key(kind), &mut self.state.meta)?;
            }
            Stands::Bucket(bucket) if !matches!(stands, Stands::Bucket(_)) => {
                self.lapse(&slot, bucket)?;
            }
            _ => {}
        }
        self.changed.insert(slot, (record, stands));
        Ok(())
    }

    /// What stood in a bucket stays, for the bucket goes as a whole. Where its time was not over,
    /// it is now.
    fn lapse(&mut self, slot: &Slot, bucket: u32) -> Result<(), LedgerError> {
        let key = slot.in_bucket(bucket);
        if let Some(settled) = self
            .batch
            .get::<Settled>(&key)?
            .filter(|settled| !settled.expired(self.now))
        {
            let over = Settled {
                at: Timestamp::UNIX_EPOCH,
                ttl: Duration::ZERO,
                ..settled
            };
            self.batch.put(key, &over, &mut self.state.meta)?;
        }
        Ok(())
    }

    fn expire(
        &mut self,
        limit: usize,
        letters: &[Vec<u8>],
        retention: Duration,
    ) -> Result<(u64, bool), LedgerError> {
        let mut expired = self.shelving().expire(limit)? as u64;
        for key in letters {
            let closed = match self.batch.get::<DeadLetter>(key) {
                Ok(closed) => closed,
                Err(LedgerError::Record { .. }) => continue,
                Err(error) => return Err(error),
            };
            let over = |closed: Timestamp| self.now >= clock::after(closed, retention);
            if let Some(letter) = closed.filter(|letter| letter.closed_at.is_some_and(over)) {
                self.note(&unnotified_key(letter.id), None)?;
                self.batch.remove(key, &mut self.state.meta)?;
                expired += 1;
            }
        }
        Ok((expired, self.shelving().is_swept()))
    }
}

/// Where a letter stands.
pub(super) fn kind_of(letter: &DeadLetter) -> u8 {
    if letter.state == LetterState::Open {
        OPEN_LETTER
    } else {
        CLOSED_LETTER
    }
}

#[cfg(test)]
mod tests;

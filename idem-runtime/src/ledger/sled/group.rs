//! One group: jobs that are decided one after the other and written together.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::job::{Answer, Job};
use super::layout::{CLOSED_LETTER, LIVE, META, Meta, OPEN_LETTER, SETTLED, Slot, letter_key};
use super::store::{Batch, Spill, Store};
use crate::clock;
use crate::ledger::LedgerError;
use crate::protocol::{
    Change, DeadLetter, DeadLetterId, Facts, LetterChange, Phase, Record, RecordId, Reply, Settled, Step, decide,
};

/// What a record is in the group so far.
pub(super) struct Loaded {
    record: Option<Record>,
    stands: Stands,
}

/// The kind of key in which a record stands, and its chunks.
pub(super) type Stands = Option<(u8, Option<Spill>)>;

/// The largest payload that is kept in memory while its body runs.
const SMALL: usize = 16 << 10;

impl Loaded {
    pub(super) fn is_running_and_small(&self) -> bool {
        let Some(Record::Live(live)) = &self.record else { return false };
        matches!(live.phase, Phase::Running { .. }) && live.payload.len() <= SMALL
    }
}

/// A group that is ready to be written.
pub(super) struct Finished {
    pub(super) batch: Batch,
    pub(super) meta: Meta,
    pub(super) records: HashMap<Slot, Loaded>,
}

/// A group that is being put together.
pub(super) struct Group<'a> {
    store: &'a Store,
    batch: Batch,
    records: HashMap<Slot, Loaded>,
    running: &'a mut HashMap<Slot, Loaded>,
    letters: HashMap<DeadLetterId, (DeadLetter, Option<Spill>)>,
    meta: Meta,
    wrote: bool,
}

impl<'a> Group<'a> {
    pub(super) fn new(store: &'a Store, meta: Meta, running: &'a mut HashMap<Slot, Loaded>) -> Self {
        Self {
            store,
            batch: Batch::default(),
            records: HashMap::new(),
            running,
            letters: HashMap::new(),
            meta,
            wrote: false,
        }
    }

    /// Decides a job. An error is the store's; one record that cannot be read is no trouble for the others.
    pub(super) fn take(&mut self, job: Job, facts: impl FnOnce(&Meta) -> Facts) -> Result<Answer, LedgerError> {
        let facts = facts(&self.meta);
        match job {
            Job::Step { id, slot, step, done } => match self.step(&id, slot, &step, &facts) {
                Err(error) if !matches!(error, LedgerError::Record { .. }) => {
                    drop(done.send(Err(error.clone())));
                    Err(error)
                }
                decided => Ok(Answer::Step(done, decided)),
            },
            Job::Expire { keys, retention, done } => match self.expire(&keys, retention, facts.now) {
                Err(error) => {
                    drop(done.send(Err(error.clone())));
                    Err(error)
                }
                expired => Ok(Answer::Expire(done, expired)),
            },
        }
    }

    /// The batch with the ledger's new numbers in it, and the records it changes; nothing where nothing changes.
    pub(super) fn finish(mut self) -> Result<Option<Finished>, LedgerError> {
        if !self.wrote {
            return Ok(None);
        }
        self.meta.group += 1;
        let mut number = self.meta.number;
        self.batch.put(META.to_vec(), &self.meta, None, &mut number)?;
        Ok(Some(Finished { batch: self.batch, meta: self.meta, records: self.records }))
    }

    fn step(&mut self, id: &RecordId, slot: Slot, step: &Step, facts: &Facts) -> Result<Reply, LedgerError> {
        let (record, stands) = match (self.records.get(&slot), self.running.remove(&slot)) {
            (Some(known), _) => (known.record.clone(), known.stands),
            (None, Some(known)) => (known.record, known.stands),
            (None, None) => load(self.store, &slot)?,
        };
        let decision = decide(id, record, step, facts);
        match decision.letter {
            LetterChange::Keep => {}
            LetterChange::Open(letter) => {
                let key = letter_key(OPEN_LETTER, letter.id);
                let spill = self.batch.put(key, &*letter, None, &mut self.meta.number)?;
                self.count(OPEN_LETTER, 1);
                self.letters.insert(letter.id, (*letter, spill));
            }
            LetterChange::Close { letter: id, state, at, why } => {
                let open = letter_key(OPEN_LETTER, id);
                let (mut letter, spill) = match self.letters.get(&id) {
                    Some(written) => written.clone(),
                    None => self.store.get::<DeadLetter>(&open)?.ok_or_else(|| LedgerError::Record {
                        detail: format!("the dead letter {id} of a dead record is missing"),
                    })?,
                };
                (letter.state, letter.closed_at, letter.closed_why) = (state, Some(at), why);
                self.batch.remove(&open, spill);
                self.batch.put(letter_key(CLOSED_LETTER, id), &letter, None, &mut self.meta.number)?;
                self.count(OPEN_LETTER, -1);
                self.count(CLOSED_LETTER, 1);
            }
        }
        match decision.record {
            Change::Keep => {}
            Change::Remove => self.replace(slot, &stands, None)?,
            Change::Put(record) => self.replace(slot, &stands, Some(*record))?,
        }
        Ok(decision.reply)
    }

    fn count(&mut self, kind: u8, more: i64) {
        if let Some(count) = self.meta.counts.of(kind) {
            *count = count.saturating_add_signed(more);
        }
    }

    /// Moves a record to where it belongs now.
    fn replace(&mut self, slot: Slot, stood: &Stands, record: Option<Record>) -> Result<(), LedgerError> {
        self.wrote = true;
        let kind = record.as_ref().map(kind_of);
        let mut replaced = None;
        let moves = stood.map(|(old_kind, _)| old_kind) != kind;
        if let Some(kind) = kind.filter(|_| moves) {
            self.count(kind, 1);
        }
        if let Some((old_kind, spill)) = *stood {
            if Some(old_kind) == kind {
                replaced = spill;
            } else {
                self.batch.remove(&slot.key(old_kind), spill);
                self.count(old_kind, -1);
            }
        }
        let number = &mut self.meta.number;
        let stands = match &record {
            None => None,
            Some(Record::Live(live)) => {
                *number = (*number).max(live.token);
                Some((LIVE, self.batch.put(slot.key(LIVE), live, replaced, number)?))
            }
            Some(Record::Settled(settled)) => {
                Some((SETTLED, self.batch.put(slot.key(SETTLED), settled, replaced, number)?))
            }
        };
        self.records.insert(slot, Loaded { record, stands });
        Ok(())
    }

    fn expire(&mut self, keys: &[Vec<u8>], retention: Duration, now: Timestamp) -> Result<u64, LedgerError> {
        let mut expired = 0;
        for key in keys {
            let spill = match key.first() {
                // A record that this group has touched is left for the next sweep.
                Some(&SETTLED) if !self.records.contains_key(&Slot::in_key(key)) => {
                    match self.store.get::<Settled>(key) {
                        Ok(Some((settled, spill))) if settled.expired(now) => spill,
                        Ok(_) | Err(LedgerError::Record { .. }) => continue,
                        Err(error) => return Err(error),
                    }
                }
                Some(&CLOSED_LETTER) => match self.store.get::<DeadLetter>(key) {
                    Ok(Some((letter, spill)))
                        if letter.closed_at.is_some_and(|closed| now >= clock::after(closed, retention)) =>
                    {
                        spill
                    }
                    Ok(_) | Err(LedgerError::Record { .. }) => continue,
                    Err(error) => return Err(error),
                },
                _ => continue,
            };
            self.batch.remove(key, spill);
            self.wrote = true;
            expired += 1;
            self.count(key.first().copied().unwrap_or_default(), -1);
            if key.first() == Some(&SETTLED) {
                // Readers and later jobs of this group must find it gone.
                self.records.insert(Slot::in_key(key), Loaded { record: None, stands: None });
            }
        }
        Ok(expired)
    }
}

/// Reads a record from where it may stand: live first, so that one that settles meanwhile is found all the same.
pub(super) fn load(store: &Store, slot: &Slot) -> Result<(Option<Record>, Stands), LedgerError> {
    if let Some((live, spill)) = store.get(&slot.key(LIVE))? {
        return Ok((Some(Record::Live(live)), Some((LIVE, spill))));
    }
    Ok(match store.get(&slot.key(SETTLED))? {
        Some((settled, spill)) => (Some(Record::Settled(settled)), Some((SETTLED, spill))),
        None => (None, None),
    })
}

fn kind_of(record: &Record) -> u8 {
    match record {
        Record::Live(_) => LIVE,
        Record::Settled(_) => SETTLED,
    }
}

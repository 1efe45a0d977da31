//! Group commit: one thread takes what is waiting, decides it, writes it as one batch, syncs once, and wakes everybody.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::layout::{CLOSED_LETTER, LIVE, META, Meta, OPEN_LETTER, SETTLED, Slot, letter_key};
use super::store::{Group, Spill, Store};
use super::witness::Witness;
use super::{Engine, Shared};
use crate::ledger::LedgerError;
use crate::protocol::{
    Change, DeadLetter, DeadLetterId, Facts, LetterChange, Phase, Record, RecordId, Reply, Step, decide,
};
use crate::{clock, observe};

/// One request for a write.
pub(super) enum Job {
    /// A step of a record.
    Step { id: RecordId, slot: Slot, step: Step, done: Done<Reply> },
    /// Removes those of these settled records and closed letters whose time is over.
    Expire { keys: Vec<Vec<u8>>, retention: std::time::Duration, done: Done<u64> },
}

/// Where a job's answer goes; a caller that has gone away is no trouble.
pub(super) type Done<T> = oneshot::Sender<Result<T, LedgerError>>;

/// A job that is decided, with the answer it gets once the group is durable.
enum Answer {
    Step(Done<Reply>, Reply),
    Expire(Done<u64>, u64),
}

/// What a record is in the group so far.
struct Loaded {
    record: Option<Record>,
    stands: Stands,
}

impl Loaded {
    fn is_running_and_small(&self) -> bool {
        let Some(Record::Live(live)) = &self.record else { return false };
        matches!(live.phase, Phase::Running { .. }) && live.payload.len() <= SMALL
    }
}

/// The largest payload that is kept in memory while its body runs.
const SMALL: usize = 16 << 10;

/// The kind of key in which a record stands, and its chunks.
type Stands = Option<(u8, Option<Spill>)>;

/// The thread's own state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    meta: Meta,
    witness: Witness,
    log: File,
    letter_ids: uuid::ContextV7,
    /// The running records as they stand: nearly every next step of a record is the end of its attempt, and need not
    /// read what was just written.
    running: HashMap<Slot, Loaded>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, meta: Meta, witness: Witness, log: File) -> Self {
        Self { shared, meta, witness, log, letter_ids: uuid::ContextV7::new(), running: HashMap::new() }
    }

    /// Works until the ledger is closed and nothing is waiting.
    pub(super) fn run(mut self) {
        let _guard = Guard(Arc::clone(&self.shared));
        while let Some(jobs) = self.shared.queue.wait() {
            self.serve(jobs);
        }
        *self.shared.engine.write() = Engine::Closed;
        self.shared.folder.release();
    }

    fn serve(&mut self, jobs: Vec<Job>) {
        if let Err(error) = self.reopen() {
            return jobs.into_iter().for_each(|job| job.refuse(&error));
        }
        let started = Instant::now();
        let size = jobs.len();
        match self.commit(jobs) {
            Ok(answers) => {
                observe::commit(started.elapsed(), size);
                answers.into_iter().for_each(Answer::send);
            }
            Err((answers, rest, error)) => {
                tracing::error!(%error, "the ledger could not write");
                self.shared.engine.write().fail(error.clone());
                answers.into_iter().for_each(|answer| answer.refuse(&error));
                rest.into_iter().for_each(|job| job.refuse(&error));
            }
        }
    }

    /// Opens sled again after it was refused a write: it answers nothing more until then.
    fn reopen(&mut self) -> Result<(), LedgerError> {
        match &*self.shared.engine.read() {
            Engine::Open(_) => return Ok(()),
            Engine::Closed => return Err(LedgerError::Closed),
            Engine::Poisoned(error) => return Err(error.clone()),
            Engine::Refused(_) => {}
        }
        // What is open still answers duplicates: it is let go of only when there is room for sled to start.
        self.shared.folder.has_room()?;
        *self.shared.engine.write() = Engine::Refused(None);
        // The last group may not have been written.
        self.running.clear();
        let store = Store::open(&self.shared.folder.tree(), self.shared.cache_bytes)?;
        let found = store.get::<Meta>(META)?.map(|(meta, _)| meta).unwrap_or_default();
        if found.group < self.meta.group {
            let path = self.shared.folder.path().to_owned();
            return Err(LedgerError::Behind { path, found: found.group, acknowledged: self.meta.group });
        }
        self.meta = Meta { session: self.meta.session, ..found };
        self.log = self.shared.folder.log()?;
        self.shared.unsynced.lock().clear();
        *self.shared.engine.write() = Engine::Open(store);
        tracing::info!("the ledger is open again");
        Ok(())
    }

    fn commit(&mut self, jobs: Vec<Job>) -> Result<Vec<Answer>, (Vec<Answer>, Vec<Job>, LedgerError)> {
        let shared = Arc::clone(&self.shared);
        let engine = shared.engine.read();
        let Engine::Open(store) = &*engine else {
            return Err((Vec::new(), jobs, LedgerError::Closed));
        };
        let mut answers = Vec::with_capacity(jobs.len());
        let mut forming = Forming {
            store,
            group: Group::default(),
            records: HashMap::new(),
            running: &mut self.running,
            letters: HashMap::new(),
            meta: self.meta,
            wrote: false,
        };
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            let facts = |meta: &Meta| Facts {
                now: self.shared.clock.now(),
                token: meta.number + 1,
                letter: DeadLetterId::new(self.shared.clock.now(), &self.letter_ids),
                session: meta.session,
                leases: false,
                instance: self.shared.instance.clone(),
            };
            match job {
                Job::Step { id, slot, step, done } => match forming.step(&id, slot, &step, &facts(&forming.meta)) {
                    Ok(reply) => answers.push(Answer::Step(done, reply)),
                    // One record that cannot be read is no trouble for the others.
                    Err(error @ LedgerError::Record { .. }) => drop(done.send(Err(error))),
                    Err(error) => {
                        drop(done.send(Err(error.clone())));
                        return Err((answers, jobs.collect(), error));
                    }
                },
                Job::Expire { keys, retention, done } => {
                    match forming.expire(&keys, retention, self.shared.clock.now()) {
                        Ok(expired) => answers.push(Answer::Expire(done, expired)),
                        Err(error) => {
                            drop(done.send(Err(error.clone())));
                            return Err((answers, jobs.collect(), error));
                        }
                    }
                }
            }
        }
        if !forming.wrote {
            return Ok(answers);
        }
        let Forming { mut group, records, mut meta, .. } = forming;
        meta.group += 1;
        let mut number = meta.number;
        let written = group
            .put(META.to_vec(), &meta, None, &mut number)
            .and_then(|_| self.write_durably(store, group, records.keys().cloned()))
            .and_then(|()| self.witness.write(meta.group).map_err(|error| self.shared.folder.refused(&error)));
        match written {
            Ok(()) => {
                self.meta = meta;
                self.running.extend(records.into_iter().filter(|(_, loaded)| loaded.is_running_and_small()));
                Ok(answers)
            }
            Err(error) => Err((answers, Vec::new(), error)),
        }
    }

    /// The batch, sled's flush, and a real `fdatasync`; readers are kept off the group until all three are done.
    fn write_durably(&self, store: &Store, group: Group, slots: impl Iterator<Item = Slot>) -> Result<(), LedgerError> {
        self.shared.unsynced.lock().extend(slots);
        store.write(group)?;
        // After a failed sync the pages may be marked clean and still be missing on the disk, so nothing that is read
        // back in this process proves anything.
        self.log.sync_data().map_err(|error| LedgerError::Poisoned {
            path: self.shared.folder.path().to_owned(),
            detail: format!("syncing the log failed: {error}"),
        })?;
        self.shared.unsynced.lock().clear();
        Ok(())
    }
}

/// Poisons the ledger when the committer dies, so that nobody waits for it.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = self.0.committer_died();
            self.0.engine.write().fail(error.clone());
            self.0.queue.fail(&error);
        }
    }
}

/// A group that is being put together.
struct Forming<'a> {
    store: &'a Store,
    group: Group,
    records: HashMap<Slot, Loaded>,
    running: &'a mut HashMap<Slot, Loaded>,
    letters: HashMap<DeadLetterId, (DeadLetter, Option<Spill>)>,
    meta: Meta,
    wrote: bool,
}

impl Forming<'_> {
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
                let spill = self.group.put(key, &*letter, None, &mut self.meta.number)?;
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
                self.group.remove(&open, spill);
                self.group.put(letter_key(CLOSED_LETTER, id), &letter, None, &mut self.meta.number)?;
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
                self.group.remove(&slot.key(old_kind), spill);
                self.count(old_kind, -1);
            }
        }
        let number = &mut self.meta.number;
        let stands = match &record {
            None => None,
            Some(Record::Live(live)) => {
                *number = (*number).max(live.token);
                Some((LIVE, self.group.put(slot.key(LIVE), live, replaced, number)?))
            }
            Some(Record::Settled(settled)) => {
                Some((SETTLED, self.group.put(slot.key(SETTLED), settled, replaced, number)?))
            }
        };
        self.records.insert(slot, Loaded { record, stands });
        Ok(())
    }

    fn expire(
        &mut self,
        keys: &[Vec<u8>],
        retention: std::time::Duration,
        now: jiff::Timestamp,
    ) -> Result<u64, LedgerError> {
        let mut expired = 0;
        for key in keys {
            let spill = match key.first() {
                // A record that this group has touched is left for the next sweep.
                Some(&SETTLED) if !self.records.contains_key(&Slot::in_key(key)) => {
                    match self.store.get::<crate::protocol::Settled>(key) {
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
            self.group.remove(key, spill);
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

/// Reads a record from where it may stand.
fn load(store: &Store, slot: &Slot) -> Result<(Option<Record>, Stands), LedgerError> {
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

impl Job {
    pub(super) fn refuse(self, error: &LedgerError) {
        match self {
            Job::Step { done, .. } => drop(done.send(Err(error.clone()))),
            Job::Expire { done, .. } => drop(done.send(Err(error.clone()))),
        }
    }

    /// About how many bytes it will write.
    pub(super) fn weight(&self) -> usize {
        match self {
            Job::Step { step: Step::Claim(claim), .. } => claim.payload.len(),
            Job::Step { step: Step::Complete { result: crate::protocol::StoredResult::Json(json), .. }, .. } => {
                json.len()
            }
            _ => 0,
        }
    }
}

impl Answer {
    fn send(self) {
        match self {
            Answer::Step(done, reply) => drop(done.send(Ok(reply))),
            Answer::Expire(done, expired) => drop(done.send(Ok(expired))),
        }
    }

    fn refuse(self, error: &LedgerError) {
        match self {
            Answer::Step(done, _) => drop(done.send(Err(error.clone()))),
            Answer::Expire(done, _) => drop(done.send(Err(error.clone()))),
        }
    }
}

//! Group commit: one thread takes what is waiting, decides it, writes it as one batch, syncs once, and wakes everybody.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::group::{Finished, Group, State};
use super::job::{Answer, Job};
use super::layout::Slot;
use super::opening::{Opened, counts};
use super::store::Store;
use super::witness::Witness;
use super::{Engine, Shared};
use crate::ledger::LedgerError;
use crate::protocol::{DeadLetterId, Facts};
use crate::{fault, observe};

/// The thread's own state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    state: State,
    witness: Witness,
    log: File,
    letter_ids: uuid::ContextV7,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, state: State, witness: Witness, log: File) -> Self {
        Self { shared, state, witness, log, letter_ids: uuid::ContextV7::new() }
    }

    /// Works until the ledger is closed and nothing is waiting.
    pub(super) fn run(mut self) {
        let _guard = Guard(Arc::clone(&self.shared));
        while let Some(jobs) = self.shared.queue.wait() {
            self.serve(jobs);
        }
        if let Err(error) = self.check_counts() {
            tracing::error!(%error, "what the ledger holds was not counted at its closing");
        }
        *self.shared.engine.write() = Engine::Closed;
        self.shared.folder.release();
    }

    fn serve(&mut self, jobs: Vec<Job>) {
        if let Err(error) = self.reopen() {
            return jobs.into_iter().for_each(|job| job.refuse(&error));
        }
        let (started, size) = (Instant::now(), jobs.len());
        let mut answers = Vec::with_capacity(size);
        match self.commit(jobs, &mut answers) {
            Ok(()) => {
                observe::commit(started.elapsed(), size);
                answers.into_iter().for_each(Answer::send);
                fault::point!(ANSWERED);
            }
            Err(error) => {
                tracing::error!(%error, "the ledger could not write");
                self.shared.engine.write().fail(error.clone());
                answers.into_iter().for_each(|answer| answer.refuse(&error));
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
        let store = Store::begin(&self.shared.folder, self.shared.cache_bytes)?;
        // The last group may not have been written, so all that is known of it is read again.
        let acknowledged = Some(self.witness.group());
        let Opened { state, running, buckets, .. } = Opened::read(&store, self.shared.folder.path(), acknowledged)?;
        self.state = state;
        self.state.meta.session = self.shared.session;
        self.shared.index.replace(buckets);
        *self.shared.running.write() = running;
        *self.shared.counts.lock() = self.state.meta.counts;
        self.log = self.shared.folder.log()?;
        // It may have been written all the same, and from now on duplicates are told of it.
        sync(&self.log).map_err(|error| self.shared.folder.refused(&error))?;
        self.shared.unsynced.lock().clear();
        *self.shared.engine.write() = Engine::Open(store);
        tracing::info!("the ledger is open again");
        Ok(())
    }

    /// Decides the jobs and writes what comes of them. Those that are not among the answers are answered already.
    fn commit(&mut self, jobs: Vec<Job>, answers: &mut Vec<Answer>) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        let engine = shared.engine.read();
        // It was open a moment ago, and only a reader's panic can have changed that.
        let Engine::Open(store) = &*engine else {
            let error = engine.trouble(&shared.folder);
            jobs.into_iter().for_each(|job| job.refuse(&error));
            return Ok(());
        };
        let mut facts = Facts {
            now: shared.clock.now(),
            token: 0,
            letter: DeadLetterId::from_bytes([0; 16]),
            session: shared.session,
            leases: false,
            instance: shared.instance.clone(),
        };
        let mut group = Group::new(store, &shared.index, &shared.running, &mut self.state, facts.now);
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            facts.letter = DeadLetterId::new(facts.now, &self.letter_ids);
            match group.take(job, &mut facts) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    jobs.for_each(|job| job.refuse(&error));
                    return Err(error);
                }
            }
        }
        let Some(Finished { batch, settles, moves, closed }) = group.finish()? else { return Ok(()) };
        fault::point!(DECIDED);
        // Whoever reads for people waits until all that follows from the group can be read.
        let _writing = shared.writing.lock();
        self.write_durably(store, batch, settles)?;
        fault::point!(SYNCED);
        self.witness.write(self.state.meta.group).map_err(|error| shared.folder.refused(&error))?;
        fault::point!(WITNESSED);
        moves.apply(&mut shared.running.write());
        closed.into_iter().for_each(|bucket| shared.index.close(bucket));
        *shared.counts.lock() = self.state.meta.counts;
        Ok(())
    }

    /// Counts what there is: numbers that came to be wrong would close the folder for good.
    fn check_counts(&mut self) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        let engine = shared.engine.read();
        let Engine::Open(store) = &*engine else { return Ok(()) };
        let (counts, counted) = (counts(store)?, self.state.meta.counts);
        if counts == counted {
            return Ok(());
        }
        tracing::error!(holds = %counts, %counted, "the ledger does not hold what was counted");
        // Where something is missing, the next opening says so.
        if counts.lack(counted) {
            return Ok(());
        }
        self.state.meta.counts = counts;
        let (batch, moves) = self.state.numbers(store, &shared.running.read())?;
        self.write_durably(store, batch, Vec::new())?;
        self.witness.write(self.state.meta.group).map_err(|error| shared.folder.refused(&error))?;
        moves.apply(&mut shared.running.write());
        Ok(())
    }

    /// The batch, sled's flush, and a real `fdatasync`; readers are kept off the group until all three are done.
    fn write_durably(&self, store: &Store, batch: Batch<'_>, settles: Vec<Slot>) -> Result<(), LedgerError> {
        self.shared.unsynced.lock().extend(settles);
        store.write(batch)?;
        fault::point!(FLUSHED);
        // After a failed sync the pages may be marked clean and still be missing on the disk, so nothing that is read
        // back in this process proves anything.
        sync(&self.log).map_err(|error| LedgerError::Poisoned {
            path: self.shared.folder.path().to_owned(),
            detail: format!("syncing the log failed: {error}"),
        })?;
        self.shared.unsynced.lock().clear();
        Ok(())
    }
}

fn sync(log: &File) -> io::Result<()> {
    fault::point!(SYNC, |_| Err(io::Error::other("this sync was told to fail")));
    log.sync_data()
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

//! Group commit: one thread takes the waiting jobs, decides them, writes them as one batch, syncs
//! once, and answers all of them.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::counts::counts;
use super::group::{Finished, Group, State};
use super::job::{Answer, Job};
use super::layout::RecordKey;
use super::opening::Opened;
use super::recovery;
use super::shared::Shared;
use super::store::Store;
use super::undo::TakenBack;
use crate::failpoint;
use crate::ledger::folder::health::{Abandon, Health};
use crate::ledger::folder::witness::Witness;
use crate::ledger::{LedgerError, metrics};
use crate::protocol::{DeadLetterId, Facts};

/// The thread's own state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    state: State,
    witness: Witness,
    log: File,
    letter_ids: uuid::ContextV7,
    /// The number of a refused group, and the steps to take back if it is in the log all the same.
    refused: Option<(u64, TakenBack)>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, state: State, witness: Witness, log: File) -> Self {
        Self {
            shared,
            state,
            witness,
            log,
            letter_ids: uuid::ContextV7::new(),
            refused: None,
        }
    }

    /// Works until the ledger is closed and no job waits.
    pub(super) fn run(mut self) {
        let _guard = Guard(Arc::clone(&self.shared));
        while let Some(jobs) = self.shared.queue.wait() {
            self.serve(jobs);
        }
        // A copy that is being made must end before another process may have the files.
        let shared = Arc::clone(&self.shared);
        let _writer = shared.writer.lock();
        if self.refused.is_some()
            && let Err(error) = self.reopen()
        {
            tracing::warn!(%error, "claims that were answered with an error may count as attempts that crashed");
        }
        if let Err(error) = self.check_counts() {
            tracing::error!(%error, "what the ledger holds was not counted at its closing");
        }
        *shared.engine.write() = Health::Closed;
        shared.folder.release();
    }

    fn serve(&mut self, jobs: Vec<Job>) {
        let shared = Arc::clone(&self.shared);
        let _writer = shared.writer.lock();
        if let Err(error) = self.reopen() {
            return jobs.into_iter().for_each(|job| job.refuse(&error));
        }
        let (started, size) = (Instant::now(), jobs.len());
        let mut answers = Vec::with_capacity(size);
        // If another process may have opened a ledger in this one's place, not even durable steps
        // are acknowledged.
        match self
            .commit(jobs, &mut answers)
            .and_then(|()| self.shared.folder.is_in_place())
        {
            Ok(()) => {
                metrics::commit(started.elapsed(), size);
                answers.into_iter().for_each(Answer::send);
                failpoint::point!(ANSWERED);
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
        if !self.shared.engine.read().must_open_again()? {
            return Ok(());
        }
        self.open_again().inspect_err(|error| {
            if error.is_final() {
                tracing::error!(%error, "the ledger answers nothing more");
                self.shared.engine.write().fail(error.clone());
            }
        })
    }

    fn open_again(&mut self) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        shared.folder.is_in_place()?;
        // The open store still answers duplicates, so it is closed only when there is room for sled
        // to start.
        shared.folder.has_room()?;
        shared.engine.write().let_go();
        // The file that was open all along is told of writes that failed since; one that is opened
        // now may not be.
        self.sync()?;
        let (store, log) = recovery::begin(
            &shared.folder,
            shared.cache_bytes,
            Some(self.witness.group()),
        )?;
        match self.read_again(&store, log) {
            Ok(()) => {
                *shared.writing.lock() = None;
                *shared.engine.write() = Health::Open(store);
                tracing::info!("the ledger is open again");
                Ok(())
            }
            Err(error) => {
                if error.is_final() {
                    store.abandon();
                }
                Err(error)
            }
        }
    }

    /// Reads all that is known of the last group again, for it may not have been written, and takes
    /// back what its callers were told was not recorded.
    fn read_again(&mut self, store: &Store, log: File) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        let acknowledged = Some(self.witness.group());
        let Opened {
            state,
            running,
            filters,
            ..
        } = Opened::read(store, shared.folder.path(), acknowledged)?;
        self.state = state;
        self.state.meta.session = shared.session;
        shared.index.replace(filters);
        *shared.running.write() = running;
        self.log = log;
        // From now on callers are told of what was found.
        self.sync()?;
        shared.unsynced.lock().clear();
        *shared.counts.lock() = self.state.meta.counts;
        // Should taking it back be refused too, it is tried again with the next opening.
        if let Some((group, back)) = &self.refused
            && *group == self.state.meta.group
            && !back.is_nothing()
        {
            let mut group = Group::new(
                store,
                &shared.index,
                &shared.running,
                &mut self.state,
                shared.clock.now(),
            );
            group.take_back(back)?;
            if let Some(finished) = group.finish()? {
                self.write(store, finished)?;
            }
        }
        self.refused = None;
        Ok(())
    }

    /// Decides the jobs and writes what comes of them. Those that are not among the answers are
    /// answered already.
    fn commit(&mut self, jobs: Vec<Job>, answers: &mut Vec<Answer>) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        let engine = shared.engine.read();
        // It was open a moment ago, and only a reader's panic can have changed that.
        let store = match engine.open() {
            Ok(store) => store,
            Err(error) => {
                jobs.into_iter().for_each(|job| job.refuse(&error));
                return Ok(());
            }
        };
        let mut facts = Facts {
            now: shared.clock.now(),
            token: 0,
            letter: DeadLetterId::from_bytes([0; 16]),
            session: shared.session,
            leases: false,
            dead_owner: false,
            instance: shared.instance.clone(),
        };
        let mut group = Group::new(
            store,
            &shared.index,
            &shared.running,
            &mut self.state,
            facts.now,
        );
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            facts.letter = DeadLetterId::new(facts.now, &self.letter_ids);
            match group.take(job, &mut facts) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    let error = self.after_a_read(store, error);
                    jobs.for_each(|job| job.refuse(&error));
                    return Err(error);
                }
            }
        }
        let finished = match group.finish() {
            Ok(finished) => finished,
            Err(error) => return Err(self.after_a_read(store, error)),
        };
        let Some(mut finished) = finished else {
            return Ok(());
        };
        let undo = std::mem::take(&mut finished.undo);
        self.write(store, finished)
            .inspect_err(|_| self.refused = Some((self.state.meta.group, undo.fold())))
    }

    /// Writes a group, and then publishes its changes to readers.
    fn write(&mut self, store: &Store, finished: Finished<'_>) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        let Finished {
            batch,
            settles,
            moves,
            closed,
            ..
        } = finished;
        // A durable read waits until all changes of the group can be read.
        let mut writing = shared.writing.lock();
        if let Err(error) = self.write_durably(store, batch, settles) {
            let error = self.after_a_write(error);
            *writing = Some(error.clone());
            return Err(error);
        }
        failpoint::point!(SYNCED);
        // It may lag: it is written again with the next group.
        if let Err(error) = write_witness(&mut self.witness, self.state.meta.group) {
            tracing::warn!(%error, "the witness could not be written; the group is durable all the same");
        }
        failpoint::point!(WITNESSED);
        moves.apply(&mut shared.running.write());
        closed
            .into_iter()
            .for_each(|bucket| shared.index.close(bucket));
        *shared.counts.lock() = self.state.meta.counts;
        Ok(())
    }

    /// Counts the rows: with wrong counts, no later opening would accept the folder.
    fn check_counts(&mut self) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        let engine = shared.engine.read();
        let Ok(store) = engine.open() else {
            return Ok(());
        };
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
        write_witness(&mut self.witness, self.state.meta.group)
            .map_err(|error| shared.folder.refused(&error))?;
        moves.apply(&mut shared.running.write());
        Ok(())
    }

    /// The batch, sled's flush, and a real `fdatasync`; readers are kept off the group until all
    /// three are done.
    fn write_durably(
        &self,
        store: &Store,
        batch: Batch<'_>,
        settles: Vec<RecordKey>,
    ) -> Result<(), LedgerError> {
        failpoint::point!(DECIDED, |said| Err(self
            .shared
            .folder
            .refused(&failpoint::refused(said.as_deref()))));
        self.shared.unsynced.lock().extend(settles);
        store.write(batch)?;
        failpoint::point!(FLUSHED, |said| Err(self
            .shared
            .folder
            .refused(&failpoint::refused(said.as_deref()))));
        self.sync()?;
        self.shared.unsynced.lock().clear();
        Ok(())
    }

    /// After a failed sync the pages may be marked clean and still be missing on the disk, so
    /// nothing that is read back in this process proves anything.
    fn sync(&self) -> Result<(), LedgerError> {
        let refused = |error| format!("syncing the log failed: {error}");
        sync(&self.log).map_err(|error| self.shared.folder.poisoned(&refused(error)))
    }

    /// Returns the error of a refused write. The log can be opened again only if it can still be synced.
    fn after_a_write(&self, error: LedgerError) -> LedgerError {
        match error {
            LedgerError::Full { .. } => self.sync().err().unwrap_or(error),
            error => self.shared.folder.after_a_write(error),
        }
    }

    /// Returns the error of a refused read. sled reports a refused write of its background with the
    /// next call of any kind; its flush tells the two apart.
    fn after_a_read(&self, store: &Store, error: LedgerError) -> LedgerError {
        match store.flush() {
            Err(error) => self.after_a_write(error),
            Ok(()) => error,
        }
    }
}

fn write_witness(witness: &mut Witness, group: u64) -> io::Result<()> {
    failpoint::point!(WITNESS, |said| Err(failpoint::refused(said.as_deref())));
    witness.write(group)
}

fn sync(log: &File) -> io::Result<()> {
    failpoint::point!(SYNC, |_| Err(io::Error::other(
        "this sync was told to fail"
    )));
    log.sync_data()
}

/// Poisons the ledger when the committer dies, so that no caller waits for it.
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

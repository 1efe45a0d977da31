//! The state that callers and the committer share, and its reads.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::filters::Index;
use super::job::{Done, Job};
use super::journal::Running;
use super::layout::{Counts, DEAD, LIVE, RecordKey};
use super::queue::Queue;
use super::store::Store;
use crate::clock::Clock;
use crate::failpoint;
use crate::ledger::LedgerError;
use crate::ledger::folder::Folder;
use crate::ledger::folder::health::{Health, not_durable};
use crate::protocol::{DeadLetterId, Facts, Record, Settled};

/// The state that callers and the committer share.
pub(super) struct Shared {
    /// The process that opened it: a fork has none of its threads.
    pub(super) process: u32,
    pub(super) folder: Folder,
    pub(super) cache_bytes: u64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) instance: Arc<str>,
    pub(super) session: u64,
    pub(super) engine: RwLock<Health<Store>>,
    pub(super) queue: Queue,
    /// Where settled records are.
    pub(super) index: Index,
    /// The claims in the journal, as the last durable group left them.
    pub(super) running: RwLock<Running>,
    /// The number of rows, as the last durable group left it.
    pub(super) counts: Mutex<Counts>,
    /// The records that the current group settles. They are not replayed before they are durable.
    pub(super) unsynced: Mutex<HashSet<RecordKey>>,
    /// Held while a group can be read but is not durable. The error of the last group, if it may
    /// never be durable.
    pub(super) writing: Mutex<Option<LedgerError>>,
    /// Held by the committer while it writes a group, and by a copy while it is made.
    pub(super) writer: Mutex<()>,
    /// The last closed letter that the sweep has visited.
    pub(super) cursor: Mutex<Vec<u8>>,
}

impl Shared {
    /// Checks that this is the process that opened it. A fork must not touch it: its locks may be
    /// held for ever.
    pub(super) fn is_here(&self) -> Result<(), LedgerError> {
        if failpoint::process() == self.process {
            Ok(())
        } else {
            Err(LedgerError::Forked {
                opened_by: self.process,
            })
        }
    }

    /// Reads from sled. It does not check for a fork: each call does so before, and a second check
    /// would take a tenth of a duplicate's time.
    pub(super) fn with_store<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let result = self.engine.read().readable().and_then(read);
        self.checked(result)
    }

    /// Reads durable rows only: what people see must still be there after a kill. Waits for the
    /// group that is being written, and fails if that one was refused.
    pub(super) fn read_durable<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.is_here()?;
        // It is held until the group has ended: a store that is opened again meanwhile would prove
        // nothing about this read.
        let engine = self.engine.read();
        let result = engine
            .open()
            .and_then(read)
            .and_then(|found| match &*self.writing.lock() {
                None => Ok(found),
                Some(error) => Err(not_durable(error)),
            });
        drop(engine);
        self.checked(result)
    }

    pub(super) fn checked<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        if let Err(error @ LedgerError::Poisoned { .. }) = &result {
            self.engine.write().fail(error.clone());
        }
        result
    }

    /// Stops all answers, because an acknowledged record is gone.
    pub(super) fn poison(&self, why: impl FnOnce(&Store) -> LedgerError) {
        let mut engine = self.engine.write();
        if let Ok(store) = engine.readable() {
            let error = why(store);
            tracing::error!(%error, "the ledger answers nothing more");
            *engine = Health::Poisoned(error);
        }
    }

    /// Returns facts for a decision that counts only if it writes nothing. They use up no number.
    pub(super) fn facts_for_reading(&self) -> Facts {
        Facts {
            now: self.clock.now(),
            token: 0,
            letter: DeadLetterId::from_bytes([0; 16]),
            session: self.session,
            leases: false,
            dead_owner: false,
            instance: self.instance.clone(),
        }
    }

    /// Returns a settled record.
    pub(super) fn settled(
        &self,
        store: &Store,
        record_key: &RecordKey,
    ) -> Result<Option<Settled>, LedgerError> {
        let found = self
            .index
            .find(store, record_key)?
            .map(|found| found.settled);
        if found.is_some() || self.counts.lock().dead == 0 {
            return Ok(found);
        }
        store.get(&record_key.in_kind(DEAD))
    }

    /// Returns a record. The locations are read in the order in which records move, so a record
    /// that moves meanwhile is found.
    pub(super) fn record(
        &self,
        store: &Store,
        record_key: &RecordKey,
    ) -> Result<Option<Record>, LedgerError> {
        if let Some(claim) = self.running.read().get(record_key) {
            return Ok(Some(Record::Live(claim.live.clone())));
        }
        if let Some(live) = store.get(&record_key.in_kind(LIVE))? {
            return Ok(Some(Record::Live(live)));
        }
        if let Some(dead) = store.get(&record_key.in_kind(DEAD))? {
            return Ok(Some(Record::Settled(dead)));
        }
        Ok(self
            .index
            .find(store, record_key)?
            .map(|found| Record::Settled(found.settled)))
    }

    pub(super) fn enqueue<T>(
        self: &Arc<Self>,
        job: Job,
        answer: oneshot::Receiver<Result<T, LedgerError>>,
    ) -> Waiting<T> {
        match self.is_here() {
            Ok(()) => self.queue.push(job),
            Err(error) => job.refuse(&error),
        }
        Waiting {
            answer,
            shared: Arc::clone(self),
        }
    }

    /// Lets the committer open sled again if it was refused a write.
    pub(super) async fn open_again(self: &Arc<Self>) -> Result<(), LedgerError> {
        self.is_here()?;
        if !matches!(&*self.engine.read(), Health::Refused(..)) {
            return Ok(());
        }
        let (done, answer): (Done<bool>, _) = oneshot::channel();
        self.enqueue(
            Job::Notes {
                changes: Vec::new(),
                expected: Vec::new(),
                done,
            },
            answer,
        )
        .answer()
        .await
        .map(drop)
    }

    pub(super) fn committer_died(&self) -> LedgerError {
        LedgerError::Poisoned {
            path: self.folder.path().to_owned(),
            detail: "its committer died".to_owned(),
        }
    }
}

/// A job's answer to come.
pub(super) struct Waiting<T> {
    pub(super) answer: oneshot::Receiver<Result<T, LedgerError>>,
    pub(super) shared: Arc<Shared>,
}

impl<T> Waiting<T> {
    pub(super) async fn answer(self) -> Result<T, LedgerError> {
        // A living committer answers every job.
        self.answer
            .await
            .unwrap_or_else(|_| Err(self.shared.committer_died()))
    }
}

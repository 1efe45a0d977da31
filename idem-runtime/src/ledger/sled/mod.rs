//! The embedded ledger: sled, one folder, one process.
//!
//! Duplicates of settled messages are answered by the caller's own thread; everything else goes
//! through one committer.

mod batch;
mod buckets;
mod committer;
mod copy;
mod engine;
mod files;
mod filters;
mod folder;
mod group;
mod job;
mod journal;
mod layout;
mod limit;
mod list;
mod lock;
mod nudge;
mod opening;
mod queue;
mod recovery;
mod salvage;
mod store;
mod sweep;
mod undo;
mod verify;
mod witness;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use committer::Committer;
use engine::{Engine, unshown};
use filters::Index;
use folder::Folder;
use job::{Done, Job};
#[cfg(feature = "testing")]
pub(crate) use journal::Entry;
use journal::Running;
use layout::{CLOSED_LETTER, Counts, DEAD, LIVE, OPEN_LETTER, Slot, letter_key};
use opening::Opened;
use queue::Queue;
use store::Store;
use witness::Witness;

use super::{Ledger, LedgerError, Note, NoteChange, Swept};
use crate::clock::{BoxFuture, Clock};
use crate::fault;
use crate::ledger::{Filter, check_keys};
use crate::protocol::{
    Change, Claim, DeadLetter, DeadLetterId, Facts, Record, RecordId, Reply, Settled, Step,
    decide_claim,
};

/// The embedded ledger.
///
/// It holds its folder's lock until it is closed or dropped.
pub struct SledLedger {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
    /// Its sender goes when the committer ends.
    ended: watch::Receiver<()>,
}

/// What callers and the committer share.
struct Shared {
    /// The process that opened it: a fork has none of its threads.
    process: u32,
    folder: Folder,
    cache_bytes: u64,
    clock: Arc<dyn Clock>,
    instance: Arc<str>,
    session: u64,
    engine: RwLock<Engine>,
    queue: Queue,
    /// Where settled records are.
    index: Index,
    /// The claims in the journal, as the last durable group left them.
    running: RwLock<Running>,
    /// What there is, as the last durable group left it.
    counts: Mutex<Counts>,
    /// The records that the group that is being written settles: nobody may be told of them before
    /// they are durable.
    unsynced: Mutex<HashSet<Slot>>,
    /// Held while a group can be read and is not durable; and why the last one may never be.
    writing: Mutex<Option<LedgerError>>,
    /// Held by the committer while it writes a group, and by a copy while it is made.
    writer: Mutex<()>,
    /// How far the sweep of closed letters has come.
    cursor: Mutex<Vec<u8>>,
}

impl SledLedger {
    /// Opens a data folder, or makes one.
    ///
    /// # Errors
    /// When another process holds it, when it cannot be written, when it is full, and when its
    /// files hold less than was acknowledged.
    pub fn open(
        path: &Path,
        cache_bytes: u64,
        clock: Arc<dyn Clock>,
        instance: String,
    ) -> Result<Self, LedgerError> {
        limit::survive();
        let folder = Folder::hold(path)?;
        let acknowledged = Witness::read(&folder)?;
        let store = recovery::begin(&folder, cache_bytes, acknowledged)?;
        let opened = Opened::read(&store, path, acknowledged);
        let (store, opened) = store.unless_poisoned(opened).map_err(|error| match error {
            LedgerError::Poisoned { path, detail } => LedgerError::Damaged { path, detail },
            other => other,
        })?;
        let Opened {
            mut state,
            mut running,
            buckets,
            closed,
        } = opened;
        // Earlier versions left a blank witness when the very first opening was cut short. Each
        // opening is a group.
        if acknowledged == Some(0) && state.meta.group > state.meta.session {
            return Err(witness::unreadable(&folder));
        }
        let unverified = verify::at_open(&store, closed)?;
        fault::point!(OPENING);
        let log = folder.log()?;
        state.begin(&store, &mut running)?;
        fault::point!(OPENED);
        log.sync_data().map_err(|error| folder.refused(&error))?;
        fault::point!(OPEN_SYNCED);
        // The witness comes last: where there is one, all that it speaks of has a durable name.
        folder.sync_names(acknowledged.is_none())?;
        fault::point!(NAMED);
        let witness =
            Witness::start(&folder, state.meta.group).map_err(|error| folder.refused(&error))?;
        let shared = Arc::new(Shared {
            process: fault::process(),
            folder,
            cache_bytes,
            clock,
            instance: instance.into(),
            session: state.meta.session,
            engine: RwLock::new(Engine::Open(store)),
            queue: Queue::default(),
            index: Index::new(state.meta.seed, buckets),
            running: RwLock::new(running),
            counts: Mutex::new(state.meta.counts),
            unsynced: Mutex::default(),
            writing: Mutex::default(),
            writer: Mutex::default(),
            cursor: Mutex::default(),
        });
        let committer = Committer::new(Arc::clone(&shared), state, witness, log);
        let (end, ended) = watch::channel(());
        let work = move || {
            committer.run();
            drop(end);
        };
        let thread = std::thread::Builder::new()
            .name("idem-committer".to_owned())
            .spawn(work);
        let thread = thread.map_err(|error| shared.folder.refused(&error))?;
        let opened = Self {
            shared,
            committer: Mutex::new(Some(thread)),
            ended,
        };
        verify::in_background(Arc::downgrade(&opened.shared), unverified)
            .map_err(|error| opened.shared.folder.refused(&error))?;
        Ok(opened)
    }
}

impl Shared {
    /// Whether this is the process that opened it. Nothing of it is touched in a fork: its locks
    /// may be held for ever.
    fn is_here(&self) -> Result<(), LedgerError> {
        if fault::process() == self.process {
            Ok(())
        } else {
            Err(LedgerError::Forked {
                opened_by: self.process,
            })
        }
    }

    /// Not to be asked in a fork: a call looked whether it is in one, and asking the system twice
    /// is a tenth of a duplicate.
    fn with_store<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let result = self.engine.read().readable().and_then(read);
        self.checked(result)
    }

    /// Reads for people: what they are shown must still be there after a kill, so a group that may
    /// be among it is waited for. When that one is refused, so are they.
    fn durably<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.is_here()?;
        // It is held until the group has its end: what is opened again meanwhile says nothing of
        // what was read.
        let engine = self.engine.read();
        let result = engine
            .open()
            .and_then(read)
            .and_then(|found| match &*self.writing.lock() {
                None => Ok(found),
                Some(error) => Err(unshown(error)),
            });
        drop(engine);
        self.checked(result)
    }

    fn checked<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        if let Err(error @ LedgerError::Poisoned { .. }) = &result {
            self.engine.write().fail(error.clone());
        }
        result
    }

    /// Something that was acknowledged is gone: nothing is answered any more.
    fn condemn(&self, why: impl FnOnce(&Store) -> LedgerError) {
        let mut engine = self.engine.write();
        if let Ok(store) = engine.readable() {
            let error = why(store);
            tracing::error!(%error, "the ledger answers nothing more");
            *engine = Engine::Poisoned(error);
        }
    }

    /// Facts for a decision that counts only where it writes nothing, and so uses up no number.
    fn facts_for_reading(&self) -> Facts {
        Facts {
            now: self.clock.now(),
            token: 0,
            letter: DeadLetterId::from_bytes([0; 16]),
            session: self.session,
            leases: false,
            instance: self.instance.clone(),
        }
    }

    /// A settled record.
    fn settled(&self, store: &Store, slot: &Slot) -> Result<Option<Settled>, LedgerError> {
        let found = self.index.find(store, slot)?.map(|found| found.settled);
        if found.is_some() || self.counts.lock().dead == 0 {
            return Ok(found);
        }
        store.get(&slot.key(DEAD))
    }

    /// A record, looked for in the order in which records move, so that one that moves meanwhile is
    /// found all the same.
    fn record(&self, store: &Store, slot: &Slot) -> Result<Option<Record>, LedgerError> {
        if let Some(held) = self.running.read().get(slot) {
            return Ok(Some(Record::Live(held.live.clone())));
        }
        if let Some(live) = store.get(&slot.key(LIVE))? {
            return Ok(Some(Record::Live(live)));
        }
        if let Some(dead) = store.get(&slot.key(DEAD))? {
            return Ok(Some(Record::Settled(dead)));
        }
        Ok(self
            .index
            .find(store, slot)?
            .map(|found| Record::Settled(found.settled)))
    }

    fn enqueue<T>(
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

    /// Has the committer open it again when it was refused a write: it does so before any job.
    async fn open_again(self: &Arc<Self>) -> Result<(), LedgerError> {
        self.is_here()?;
        if !matches!(&*self.engine.read(), Engine::Refused(..)) {
            return Ok(());
        }
        let (done, answer): (Done<()>, _) = oneshot::channel();
        self.enqueue(
            Job::Notes {
                changes: Vec::new(),
                done,
            },
            answer,
        )
        .answer()
        .await
    }

    fn committer_died(&self) -> LedgerError {
        LedgerError::Poisoned {
            path: self.folder.path().to_owned(),
            detail: "its committer died".to_owned(),
        }
    }
}

/// A job's answer to come.
struct Waiting<T> {
    answer: oneshot::Receiver<Result<T, LedgerError>>,
    shared: Arc<Shared>,
}

impl<T> Waiting<T> {
    async fn answer(self) -> Result<T, LedgerError> {
        // A living committer answers every job.
        self.answer
            .await
            .unwrap_or_else(|_| Err(self.shared.committer_died()))
    }
}

impl Ledger for SledLedger {
    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        Box::pin(async move {
            if let Step::Complete { notes, .. } = &step {
                check_keys(notes)?;
            }
            let (done, answer): (Done<Reply>, _) = oneshot::channel();
            shared
                .enqueue(
                    Job::Step {
                        slot: Slot::of(&id),
                        id,
                        step,
                        done,
                    },
                    answer,
                )
                .answer()
                .await
        })
    }

    fn look(&self, id: &RecordId, claim: &Claim) -> Option<Reply> {
        let slot = Slot::of(id);
        let settled = self.shared.with_store(|store| {
            let settled = self.shared.settled(store, &slot)?;
            // A record of the group that is being written may still come to nothing.
            Ok(settled.filter(|_| !self.shared.unsynced.lock().contains(&slot)))
        });
        let decision = decide_claim(
            id,
            Some(Record::Settled(settled.ok()??)),
            claim,
            &self.shared.facts_for_reading(),
        );
        (decision.record == Change::Keep).then_some(decision.reply)
    }

    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>> {
        let (shared, slot) = (Arc::clone(&self.shared), Slot::of(id));
        Box::pin(async move {
            shared.open_again().await?;
            shared.durably(|store| shared.record(store, &slot))
        })
    }

    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            shared.open_again().await?;
            shared.durably(|store| match store.get(&letter_key(OPEN_LETTER, id))? {
                Some(open) => Ok(Some(open)),
                None => store.get(&letter_key(CLOSED_LETTER, id)),
            })
        })
    }

    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>> {
        let (shared, filter) = (Arc::clone(&self.shared), filter.clone());
        Box::pin(async move {
            shared.open_again().await?;
            let (done, answer) = oneshot::channel();
            let (reader, wanted) = (Arc::clone(&shared), filter.clone());
            // A listing may read many letters: on a thread of its own it holds up no handler.
            let started = list::on_its_own(move || {
                // Nobody may be waiting for it any more.
                let _ = done.send(reader.durably(|store| list::letters(store, &wanted)));
            });
            match started {
                Ok(()) => Waiting { answer, shared }.answer().await,
                // Where no thread can be started, it takes the caller's.
                Err(_) => shared.durably(|store| list::letters(store, &filter)),
            }
        })
    }

    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>> {
        let shared = &self.shared;
        let count = shared
            .is_here()
            .and_then(|()| shared.with_store(|_| Ok(shared.counts.lock().open_letters)));
        Box::pin(std::future::ready(count))
    }

    fn sweep(
        &self,
        settled: usize,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, LedgerError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { sweep::sweep(&shared, settled, retention).await })
    }

    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>> {
        let (shared, prefix, after) = (
            Arc::clone(&self.shared),
            prefix.to_owned(),
            after.map(str::to_owned),
        );
        Box::pin(async move {
            shared.open_again().await?;
            shared.durably(|store| list::notes(store, &prefix, after.as_deref(), limit))
        })
    }

    fn write_notes(&self, changes: Vec<NoteChange>) -> BoxFuture<'static, Result<(), LedgerError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            check_keys(&changes)?;
            let (done, answer): (Done<()>, _) = oneshot::channel();
            shared
                .enqueue(Job::Notes { changes, done }, answer)
                .answer()
                .await
        })
    }

    fn size(&self) -> BoxFuture<'static, Result<Option<u64>, LedgerError>> {
        let size = self
            .shared
            .is_here()
            .and_then(|()| self.shared.with_store(|store| store.size().map(Some)));
        Box::pin(std::future::ready(size))
    }

    fn copy_to(&self, folder: &Path) -> BoxFuture<'static, Result<(), LedgerError>> {
        let (shared, folder) = (Arc::clone(&self.shared), folder.to_owned());
        Box::pin(async move {
            shared.open_again().await?;
            let (done, answer) = oneshot::channel();
            let copier = Arc::clone(&shared);
            let copy = move || {
                // Nobody may be waiting for it any more.
                let _ = done.send(copy::copy(&copier, &folder));
            };
            let copying = std::thread::Builder::new()
                .name("idem-copier".to_owned())
                .spawn(copy);
            copying.map_err(|error| shared.folder.refused(&error))?;
            Waiting { answer, shared }.answer().await
        })
    }

    fn leases(&self) -> bool {
        false
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        if let Err(error) = self.shared.is_here() {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.shared.queue.close();
        let mut ended = self.ended.clone();
        Box::pin(async move {
            // An error means that the committer has ended, which is what is waited for; its own
            // panics are caught where sled is called.
            let _ = ended.changed().await;
            Ok(())
        })
    }
}

impl Drop for SledLedger {
    fn drop(&mut self) {
        if self.shared.is_here().is_err() {
            // The files and the lock are the other process's; to clean up would take them from it.
            std::mem::forget(Arc::clone(&self.shared));
            return;
        }
        self.shared.queue.close();
        if let Some(thread) = self.committer.lock().take() {
            // What is waiting is written before the folder's lock is let go.
            let _ = thread.join();
        }
    }
}

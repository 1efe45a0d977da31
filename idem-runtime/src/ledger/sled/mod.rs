//! The embedded ledger: sled, one folder, one process.
//!
//! Duplicates of settled messages are answered by the caller's own thread; everything else goes through one committer.

mod batch;
mod committer;
mod folder;
mod group;
mod index;
mod job;
mod journal;
mod layout;
mod list;
mod mend;
mod opening;
mod queue;
mod rescue;
mod shelf;
mod store;
mod sweep;
mod verify;
mod witness;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use committer::Committer;
use folder::Folder;
use index::Index;
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
use crate::ledger::Filter;
use crate::protocol::{
    Change, Claim, DeadLetter, DeadLetterId, Facts, Record, RecordId, Reply, Settled, Step, decide_claim,
};

/// The witness's name in the data folder.
pub(crate) const WITNESS: &str = "witness";

/// The embedded ledger.
///
/// It holds its folder's lock until it is closed or dropped.
pub struct SledLedger {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What callers and the committer share.
struct Shared {
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
    /// The records that the group that is being written settles: nobody may be told of them before they are durable.
    unsynced: Mutex<HashSet<Slot>>,
    /// Held while a group can be read and is not durable.
    writing: Mutex<()>,
    /// How far the sweep of closed letters has come.
    cursor: Mutex<Vec<u8>>,
}

/// Whether sled can be asked.
enum Engine {
    Open(Store),
    /// A write was refused. What was durable can still be read; the next write opens it again.
    Refused(Option<Store>),
    /// It panicked, or a sync failed: nothing is answered until the process starts again.
    Poisoned(LedgerError),
    Closed,
}

impl Engine {
    /// Why it cannot be asked.
    fn trouble(&self, folder: &Folder) -> LedgerError {
        match self {
            Engine::Poisoned(error) => error.clone(),
            Engine::Closed => LedgerError::Closed,
            Engine::Open(_) | Engine::Refused(_) => LedgerError::Io {
                path: folder.path().to_owned(),
                reason: "it was refused a write and is not open again".to_owned(),
            },
        }
    }

    fn fail(&mut self, error: LedgerError) {
        let store = match std::mem::replace(self, Engine::Closed) {
            Engine::Open(store) | Engine::Refused(Some(store)) => Some(store),
            _ => None,
        };
        if matches!(error, LedgerError::Poisoned { .. }) {
            if let Some(store) = store {
                store.abandon();
            }
            *self = Engine::Poisoned(error);
        } else {
            *self = Engine::Refused(store);
        }
    }
}

impl SledLedger {
    /// Opens a data folder, or makes one.
    ///
    /// # Errors
    /// When another process holds it, when it cannot be written, when it is full, and when its files hold less than
    /// was acknowledged.
    pub fn open(path: &Path, cache_bytes: u64, clock: Arc<dyn Clock>, instance: String) -> Result<Self, LedgerError> {
        let folder = Folder::hold(path)?;
        let acknowledged = Witness::read(&folder)?;
        let store = Store::begin(&folder, cache_bytes)?;
        let opened = match Opened::read(&store, path, acknowledged) {
            Ok(opened) => opened,
            Err(LedgerError::Poisoned { path, detail }) => {
                store.abandon();
                return Err(LedgerError::Damaged { path, detail });
            }
            Err(error) => return Err(error),
        };
        let Opened { mut state, mut running, buckets, closed } = opened;
        let unverified = verify::at_open(&store, closed)?;
        fault::point!(OPENING);
        let log = folder.log()?;
        state.begin(&store, &mut running)?;
        fault::point!(OPENED);
        log.sync_data().map_err(|error| folder.refused(&error))?;
        fault::point!(OPEN_SYNCED);
        let witness = Witness::start(&folder.witness(), state.meta.group).map_err(|error| folder.refused(&error))?;
        folder.sync_names()?;
        let shared = Arc::new(Shared {
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
            cursor: Mutex::default(),
        });
        let committer = Committer::new(Arc::clone(&shared), state, witness, log);
        let thread = std::thread::Builder::new()
            .name("idem-committer".to_owned())
            .spawn(move || committer.run())
            .map_err(|error| shared.folder.refused(&error))?;
        verify::in_background(Arc::downgrade(&shared), unverified).map_err(|error| shared.folder.refused(&error))?;
        Ok(Self { shared, committer: Mutex::new(Some(thread)) })
    }
}

impl Shared {
    fn with_store<T>(&self, read: impl FnOnce(&Store) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let result = match &*self.engine.read() {
            Engine::Open(store) | Engine::Refused(Some(store)) => read(store),
            other => Err(other.trouble(&self.folder)),
        };
        if let Err(error @ LedgerError::Poisoned { .. }) = &result {
            self.engine.write().fail(error.clone());
        }
        result
    }

    /// Reads for people: what they are shown must still be there after a kill, so a group that may be among it is
    /// waited for. The committer never waits for them.
    fn durably<T>(&self, read: impl FnOnce(&Store) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let found = self.with_store(read)?;
        drop(self.writing.lock());
        // The sync may have failed meanwhile.
        self.with_store(|_| Ok(found))
    }

    /// Something that was acknowledged is gone: nothing is answered any more.
    fn condemn(&self, why: impl FnOnce(&Store) -> LedgerError) {
        let mut engine = self.engine.write();
        if let Engine::Open(store) | Engine::Refused(Some(store)) = &*engine {
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

    /// A record, looked for in the order in which records move, so that one that moves meanwhile is found all the same.
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
        Ok(self.index.find(store, slot)?.map(|found| Record::Settled(found.settled)))
    }

    fn enqueue<T>(self: &Arc<Self>, job: Job, answer: oneshot::Receiver<Result<T, LedgerError>>) -> Waiting<T> {
        self.queue.push(job);
        Waiting { answer, shared: Arc::clone(self) }
    }

    fn committer_died(&self) -> LedgerError {
        LedgerError::Poisoned { path: self.folder.path().to_owned(), detail: "its committer died".to_owned() }
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
        self.answer.await.unwrap_or_else(|_| Err(self.shared.committer_died()))
    }
}

impl Ledger for SledLedger {
    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        Box::pin(async move {
            let (done, answer): (Done<Reply>, _) = oneshot::channel();
            shared.enqueue(Job::Step { slot: Slot::of(&id), id, step, done }, answer).answer().await
        })
    }

    fn look(&self, id: &RecordId, claim: &Claim) -> Option<Reply> {
        let slot = Slot::of(id);
        let settled = self.shared.with_store(|store| self.shared.settled(store, &slot)).ok()??;
        let decision = decide_claim(id, Some(Record::Settled(settled)), claim, &self.shared.facts_for_reading());
        // A record of the group that is being written may still come to nothing.
        (decision.record == Change::Keep && !self.shared.unsynced.lock().contains(&slot)).then_some(decision.reply)
    }

    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>> {
        let slot = Slot::of(id);
        let read = self.shared.durably(|store| self.shared.record(store, &slot));
        Box::pin(std::future::ready(read))
    }

    fn letter(&self, id: DeadLetterId) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>> {
        let read = self.shared.durably(|store| match store.get(&letter_key(OPEN_LETTER, id))? {
            Some(open) => Ok(Some(open)),
            None => store.get(&letter_key(CLOSED_LETTER, id)),
        });
        Box::pin(std::future::ready(read))
    }

    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>> {
        // A listing may read many letters: on a thread of its own it holds up no handler.
        let (shared, filter) = (Arc::clone(&self.shared), filter.clone());
        let (done, answer) = oneshot::channel();
        let reader = Arc::clone(&shared);
        std::thread::spawn(move || done.send(reader.durably(|store| list::letters(store, &filter))));
        Box::pin(Waiting { answer, shared }.answer())
    }

    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>> {
        let count = self.shared.with_store(|_| Ok(self.shared.counts.lock().open_letters));
        Box::pin(std::future::ready(count))
    }

    fn sweep(&self, settled: usize, retention: Duration) -> BoxFuture<'static, Result<Swept, LedgerError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { sweep::sweep(&shared, settled, retention).await })
    }

    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>> {
        let read = self.shared.durably(|store| list::notes(store, prefix, after, limit));
        Box::pin(std::future::ready(read))
    }

    fn write_notes(&self, changes: Vec<NoteChange>) -> BoxFuture<'static, Result<(), LedgerError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (done, answer): (Done<()>, _) = oneshot::channel();
            shared.enqueue(Job::Notes { changes, done }, answer).answer().await
        })
    }

    fn size(&self) -> BoxFuture<'static, Result<Option<u64>, LedgerError>> {
        let size = self.shared.with_store(|store| store.size().map(Some));
        Box::pin(std::future::ready(size))
    }

    fn leases(&self) -> bool {
        false
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        self.shared.queue.close();
        let thread = self.committer.lock().take();
        Box::pin(async move {
            if let Some(thread) = thread {
                let (done, ended) = oneshot::channel();
                std::thread::spawn(move || done.send(thread.join()));
                // The committer's own panics are caught where sled is called.
                let _ = ended.await;
            }
            Ok(())
        })
    }
}

impl Drop for SledLedger {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.committer.lock().take() {
            // What is waiting is written before the folder's lock is let go.
            let _ = thread.join();
        }
    }
}

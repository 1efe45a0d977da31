//! The embedded ledger: sled, one folder, one process.
//!
//! Duplicates of settled messages are answered by the caller's own thread; everything else goes
//! through one committer.

mod batch;
mod buckets;
mod committer;
mod copy;
mod counts;
mod files;
mod filters;
mod group;
mod import;
mod job;
mod journal;
mod layout;
mod list;
mod log;
mod nudge;
mod opening;
mod queue;
mod recovery;
mod salvage;
mod shared;
mod spill;
mod stopped;
mod store;
mod sweep;
mod undo;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use committer::Committer;
use filters::Index;
use import::Purpose;
use job::{Done, Job};
#[cfg(feature = "testing")]
pub(crate) use journal::Entry;
use layout::{CLOSED_LETTER, OPEN_LETTER, RecordKey, letter_key};
use opening::Opened;
use queue::Queue;
use shared::{Shared, Waiting};

pub use import::{Import, ImportLedger, Imported};
pub(super) use stopped::StoppedSled;

use super::folder::health::Health;
use super::folder::witness::{self, Witness};
use super::folder::{Folder, copied, limit};
use super::{Capabilities, Engine, ExpectedNote, Ledger, LedgerError, Note, NoteChange, Swept};
use crate::clock::{BoxFuture, Clock};
use crate::failpoint;
use crate::ledger::{Filter, check_keys};
use crate::protocol::{
    Change, Claim, DeadLetter, DeadLetterId, Record, RecordId, Reply, Step, decide_claim,
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

impl SledLedger {
    /// Opens a data folder, or creates one. `cache_bytes` is the size of sled's cache.
    ///
    /// # Errors
    /// When another process holds it, when it cannot be written, when the disk is full, and when
    /// its files lack acknowledged writes.
    pub fn open(
        path: &Path,
        cache_bytes: u64,
        clock: Arc<dyn Clock>,
        instance: String,
    ) -> Result<Self, LedgerError> {
        Self::open_for(Purpose::Service, path, cache_bytes, clock, instance)
    }

    fn open_for(
        purpose: Purpose,
        path: &Path,
        cache_bytes: u64,
        clock: Arc<dyn Clock>,
        instance: String,
    ) -> Result<Self, LedgerError> {
        limit::survive();
        let folder = Folder::hold(path, Engine::Sled)?;
        let witnessed = Witness::read(&folder)?;
        let acknowledged = match purpose {
            Purpose::Service => witnessed,
            // Whether to go on with what is left of a damaged folder is decided by its service.
            Purpose::Import => Some(witnessed.unwrap_or(0)),
        };
        let (store, log) = recovery::begin(&folder, cache_bytes, acknowledged)?;
        let opened = Opened::read(&store, path, acknowledged).and_then(|opened| {
            purpose.allows(&store, path)?;
            Ok(opened)
        });
        let (store, opened) = store.unless_poisoned(opened).map_err(|error| match error {
            LedgerError::Poisoned { path, detail } => LedgerError::Damaged { path, detail },
            other => other,
        })?;
        let Opened {
            mut state,
            mut running,
            filters,
            closed,
        } = opened;
        // Earlier versions left a blank witness when the very first opening was cut short. Each
        // opening is a group.
        if acknowledged == Some(0) && state.meta.group > state.meta.session {
            return Err(witness::unreadable(&folder));
        }
        let unverified = verify::at_open(&store, closed)?;
        failpoint::point!(OPENING);
        state.begin(&store, &mut running)?;
        failpoint::point!(OPENED);
        log.sync_data().map_err(|error| folder.refused(&error))?;
        failpoint::point!(OPEN_SYNCED);
        // The witness comes last: where there is one, all that it speaks of has a durable name.
        folder.sync_names(witnessed.is_none())?;
        failpoint::point!(NAMED);
        let witness =
            Witness::start(&folder, state.meta.group).map_err(|error| folder.refused(&error))?;
        let shared = Arc::new(Shared {
            process: failpoint::process(),
            folder,
            cache_bytes,
            clock,
            instance: instance.into(),
            session: state.meta.session,
            engine: RwLock::new(Health::Open(store)),
            queue: Queue::default(),
            index: Index::new(state.meta.seed, filters),
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
        copied::say(shared.folder.path());
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

impl Ledger for SledLedger {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
    }

    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        Box::pin(async move {
            check_keys(step.notes())?;
            let (done, answer): (Done<Reply>, _) = oneshot::channel();
            shared
                .enqueue(
                    Job::Step {
                        record_key: RecordKey::new(&id),
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
        let record_key = RecordKey::new(id);
        let settled = self.shared.with_store(|store| {
            let settled = self.shared.settled(store, &record_key)?;
            // A record of the group that is being written may still come to nothing.
            Ok(settled.filter(|_| !self.shared.unsynced.lock().contains(&record_key)))
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
        let (shared, record_key) = (Arc::clone(&self.shared), RecordKey::new(id));
        Box::pin(async move {
            shared.open_again().await?;
            shared.read_durable(|store| shared.record(store, &record_key))
        })
    }

    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            shared.open_again().await?;
            shared.read_durable(|store| match store.get(&letter_key(OPEN_LETTER, id))? {
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
            // A listing may read many letters: a thread of its own does not block the executor.
            let started = list::on_its_own(move || {
                // The caller may have gone away.
                let _ = done.send(reader.read_durable(|store| list::letters(store, &wanted)));
            });
            match started {
                Ok(()) => Waiting { answer, shared }.answer().await,
                // Where no thread can be started, it takes the caller's.
                Err(_) => shared.read_durable(|store| list::letters(store, &filter)),
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
            shared.read_durable(|store| list::notes(store, &prefix, after.as_deref(), limit))
        })
    }

    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> BoxFuture<'static, Result<bool, LedgerError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            check_keys(&changes)?;
            let (done, answer): (Done<bool>, _) = oneshot::channel();
            let job = Job::Notes {
                changes,
                expected,
                done,
            };
            shared.enqueue(job, answer).answer().await
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
                // The caller may have gone away.
                let _ = done.send(copy::copy(&copier, &folder));
            };
            let copying = std::thread::Builder::new()
                .name("idem-copier".to_owned())
                .spawn(copy);
            copying.map_err(|error| shared.folder.refused(&error))?;
            Waiting { answer, shared }.answer().await
        })
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        if let Err(error) = self.shared.is_here() {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.shared.queue.close();
        let mut ended = self.ended.clone();
        Box::pin(async move {
            // An error means that the committer has ended, as it should; its panics are caught
            // where sled is called.
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
            // Waiting jobs are written before the folder's lock is released.
            let _ = thread.join();
        }
    }
}

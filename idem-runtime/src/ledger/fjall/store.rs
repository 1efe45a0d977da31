//! The store on fjall: reads where it is asked, writes through one thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::copy::copy;
use super::db::{Db, prefix};
use super::group::{Encoded, Group};
use super::list::{due, letters, notes};
use super::opening::Opened;
use super::rows::{ROW, Stored, WAITING, letter_key, time};
use super::shared::{Shared, refused};
use super::writer::{Asked, Message, Writer};
use crate::clock::Clock;
use crate::failpoint;
use crate::ledger::folder::health::Health;
use crate::ledger::folder::record_key::RecordKey;
use crate::ledger::folder::witness::Witness;
use crate::ledger::folder::{Folder, copied, limit};
use crate::ledger::shared::{
    Owner, Row, Rows, Runner, Store, StoreError, StoreErrorKind, Write, Written,
};
use crate::ledger::{Engine, ExpectedNote, Filter, LedgerError, Note, NoteChange, Waiting};
use crate::protocol::{DeadLetter, DeadLetterId, Record, RecordId, Settled};

/// A folder on fjall, as the [store](Store) of a [`SharedLedger`](crate::ledger::shared::SharedLedger) that
/// one process has alone. A clone is another handle to it.
///
/// It holds its folder's lock until it is closed, or its last handle is dropped.
#[derive(Clone)]
pub struct FjallStore(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    messages: Sender<Message>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl FjallStore {
    /// Opens a data folder, or creates one. `cache_bytes` is the size of fjall's cache.
    ///
    /// # Errors
    /// When another process holds it, when there is a ledger on another engine in it, when it cannot be
    /// written, when the disk is full, and when its files are damaged or lack acknowledged writes.
    pub fn open(path: &Path, cache_bytes: u64, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        limit::survive();
        let folder = Folder::hold(path, Engine::Fjall)?;
        let witnessed = Witness::read(&folder)?;
        let Opened {
            db,
            mut meta,
            mut owned,
            open_letters,
        } = Opened::read(&folder, cache_bytes, witnessed)?;
        failpoint::point!(OPENING);
        // The first group shows that the folder can be written.
        let mut first = Group::new(&db, &owned, &mut meta);
        first.reserve(0);
        first.end_request(true);
        if let Some(first) = first.finish() {
            db.commit(first.others.into_iter())
                .map_err(LedgerError::from)?;
            owned.apply(meta.group, first.owned);
        }
        failpoint::point!(OPEN_SYNCED);
        // The witness comes last: where there is one, all that it speaks of has a durable name.
        folder.sync_names(witnessed.is_none())?;
        failpoint::point!(NAMED);
        let witness =
            Witness::start(&folder, meta.group).map_err(|error| folder.refused(&error))?;
        copied::say(folder.path());
        let shared = Arc::new(Shared {
            process: failpoint::process(),
            folder,
            cache_bytes,
            clock,
            health: RwLock::new(Health::Open(db)),
            runners: Mutex::default(),
            owned: Mutex::new(owned),
            open_letters: open_letters.into(),
            told: Mutex::default(),
            page: Mutex::default(),
        });
        let (messages, received) = channel();
        let writer = Writer {
            shared: Arc::clone(&shared),
            meta,
            witness,
        };
        let thread = std::thread::Builder::new()
            .name("idem-writer".to_owned())
            .spawn(move || writer.run(&received))
            .map_err(|error| shared.folder.refused(&error))?;
        Ok(Self(Arc::new(Handle {
            shared,
            messages,
            writer: Mutex::new(Some(thread)),
        })))
    }

    /// Returns a settled record, without waiting for the group that is being written.
    pub(super) fn settled(&self, id: &RecordId) -> Result<Option<Settled>, LedgerError> {
        let key = RecordKey::new(id).in_kind(ROW);
        let record = self.0.shared.read(|db| match db.get(&key)? {
            Some(row) => match Stored::read(&row)? {
                Stored { is_live: true, .. } => Ok(None),
                settled => settled.record(),
            },
            None => Ok(None),
        })?;
        Ok(match record {
            Some(Record::Settled(settled)) => Some(settled),
            _ => None,
        })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Has something decided within the next group, and waits until that is durable.
    async fn ask<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Group<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0
            .shared
            .is_here()
            .map_err(|error| refused(error, false))?;
        let (done, answer) = oneshot::channel();
        let request = Message::Request(Box::new(Asked::new(decide, done)));
        let closed = || refused(LedgerError::Closed, false);
        self.0.messages.send(request).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Copies it into a folder that is empty or not there.
    pub(super) async fn copy_to(&self, to: PathBuf) -> Result<(), LedgerError> {
        let copied = self
            .read_apart(move |shared, db| copy(shared, db, &to))
            .await;
        copied.map_err(LedgerError::from)
    }

    /// Reads where the caller is: a row or two.
    fn read_here<T>(
        &self,
        read: impl FnOnce(&Db) -> Result<T, LedgerError>,
    ) -> Result<T, StoreError> {
        let shared = &self.0.shared;
        let found = shared.is_here().and_then(|()| shared.read(read));
        found.map_err(|error| refused(error, false))
    }

    /// Reads on a thread of its own, which may take a while.
    async fn read_apart<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared, &Db) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.0.shared);
        let (done, answer) = oneshot::channel();
        let work = move || {
            let found = shared
                .is_here()
                .and_then(|()| shared.read(|db| read(&shared, db)));
            // The caller may have gone away.
            let _ = done.send(found.map_err(|error| refused(error, false)));
        };
        let lost = |error: LedgerError| refused(error, false);
        std::thread::Builder::new()
            .name("idem-reader".to_owned())
            .spawn(work)
            .map_err(|error| lost(self.0.shared.folder.refused(&error)))?;
        let died = || {
            lost(LedgerError::Other(
                "the thread that read it died".to_owned(),
            ))
        };
        answer.await.unwrap_or_else(|_| Err(died()))
    }

    fn owner(&self, runner: Option<&str>) -> Owner {
        runner.map_or(Owner::None, |runner| {
            self.0.shared.runners.lock().owner(runner)
        })
    }

    fn row(&self, db: &Db, id: &RecordId) -> Result<Option<Row>, LedgerError> {
        let Some(row) = db.get(&RecordKey::new(id).in_kind(ROW))? else {
            return Ok(None);
        };
        let stored = Stored::read(&row)?;
        Ok(Some(Row {
            version: stored.version,
            record: stored.record()?,
            due: stored.due.map(time),
            owner: self.owner(stored.owner),
        }))
    }
}

impl Handle {
    /// Ends the writer once it has done what it was asked, and waits for that.
    fn close(&self) {
        if self.shared.is_here().is_err() {
            return;
        }
        // Without a writer there is no receiver.
        let _ = self.messages.send(Message::Close);
        if let Some(writer) = self.writer.lock().take() {
            // A panic of the thread was printed.
            let _ = writer.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
        if self.shared.is_here().is_err() {
            // The files and the lock are the other process's; to clean up would take them from it.
            std::mem::forget(Arc::clone(&self.shared));
        }
    }
}

impl Store for FjallStore {
    type Transaction = std::convert::Infallible;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        let now = self.0.shared.now();
        self.read_here(|db| {
            let rows = ids.iter().map(|id| match self.row(db, id) {
                // One that cannot be read does not keep the others from being read.
                Err(error @ LedgerError::Record { .. }) => Ok(Err(error)),
                row => Ok(Ok(row?)),
            });
            Ok(Rows {
                rows: rows.collect::<Result<_, LedgerError>>()?,
                now,
            })
        })
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        let (shared, runner) = (Arc::clone(&self.0.shared), Runner::clone(runner));
        // Not on the one thread that all wait for.
        let writes: Vec<_> = writes.into_iter().map(Encoded::new).collect();
        self.ask(move |group| {
            if shared.runners.lock().is_dead(&runner) {
                let message = format!("the runner `{runner}` was marked dead");
                return Err(StoreError::new(StoreErrorKind::RunnerDead, message));
            }
            let mut versions = Vec::with_capacity(writes.len());
            for write in writes {
                let version = write.version();
                if group.write(write).map_err(|error| refused(error, false))? {
                    versions.push(version);
                }
            }
            let now = shared.now();
            Ok(Written { versions, now })
        })
        .await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.ask(move |group| Ok(group.reserve(count))).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        _: u64,
    ) -> Result<Timestamp, StoreError> {
        let now = self.0.shared.now();
        match self.0.shared.runners.lock().beat(runner, lease, now) {
            true => Ok(now),
            false => {
                let message = format!("the runner `{runner}` was marked dead");
                Err(StoreError::new(StoreErrorKind::RunnerDead, message))
            }
        }
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        let now = self.0.shared.now();
        Ok(self.0.shared.runners.lock().retire(runner, until, now))
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        self.read_apart(move |shared, db| due(shared, db, limit))
            .await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        let now = self.0.shared.now();
        self.ask(move |group| {
            group
                .remove_due(limit, now)
                .map_err(|error| refused(error, false))
        })
        .await
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        self.read_apart(|_, db| {
            let mut waiting = Waiting::default();
            db.scan(prefix(&[WAITING]), |_, since| {
                let since = since.try_into().map_or(i64::MAX, i64::from_be_bytes);
                waiting.extend([time(since)]);
                Ok(true)
            })?;
            Ok(waiting)
        })
        .await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.read_here(|db| {
            let letter = db.get(&letter_key(id))?;
            letter.map(|letter| DeadLetter::decode(&letter)).transpose()
        })
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        self.read_apart(move |_, db| letters(db, &filter)).await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        // A folder that cannot be read has no count.
        self.read_here(|_| Ok(self.0.shared.open_letters.load(Ordering::Relaxed)))
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.ask(move |group| {
            let removed = group.remove_letters(until, limit);
            removed.map_err(|error| refused(error, false))
        })
        .await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        self.read_apart(move |_, db| notes(db, &prefix, after.as_deref(), limit))
            .await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.ask(move |group| {
            let written = group.write_notes_if(&changes, &expected);
            written.map_err(|error| refused(error, false))
        })
        .await
    }

    fn has_one_process(&self) -> bool {
        true
    }

    async fn size(&self) -> Result<Option<u64>, StoreError> {
        self.read_apart(|shared, _| {
            let size = shared.folder.size();
            size.map(Some)
                .map_err(|error| shared.folder.refused(&error))
        })
        .await
    }

    async fn close(&self) {
        let handle = Arc::clone(&self.0);
        let (done, closed) = oneshot::channel::<()>();
        let close = move || {
            handle.close();
            drop(done);
        };
        // Joining the writer would block the caller's runtime.
        match std::thread::Builder::new()
            .name("idem-closer".to_owned())
            .spawn(close)
        {
            Ok(_) => drop(closed.await),
            Err(_) => self.0.close(),
        }
    }
}

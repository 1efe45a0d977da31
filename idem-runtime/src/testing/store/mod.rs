//! A store in memory, which many shared ledgers can share as if they were processes.

mod clocked;
mod kept;
mod network;
mod transaction;
mod unreliable;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::broadcast;

pub use clocked::{ClockedStore, ClockedTransaction, ServerClock, ServerTime};
pub use kept::Calls;
use kept::Kept;
pub use network::{StoreCall, StoreFault};
pub use transaction::MemoryTransaction;
pub use unreliable::{UnreliableStore, UnreliableTransaction};

use crate::clock::Clock;
use crate::ledger::shared::{Rows, Runner, Store, StoreError, StoreErrorKind, Write, Written};
use crate::ledger::{ExpectedNote, Filter, LedgerError, Note, NoteChange, Waiting};
use crate::protocol::{DeadLetter, DeadLetterId, RecordId};

/// The changes that a connection may lag behind before it misses some.
const HINTS: usize = 256;

/// A store in memory: it forgets everything when its last connection is dropped. A clone is another
/// connection to the same data.
///
/// Its transactions can write rows of the test's own beside the record.
pub struct MemoryStore {
    server: Arc<Server>,
    /// The number of this connection.
    number: u64,
    hints: tokio::sync::Mutex<broadcast::Receiver<Changed>>,
    /// Where the next page of rows that are due begins.
    page: Mutex<Option<RecordId>>,
}

struct Server {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    changes: broadcast::Sender<Changed>,
}

/// The rows that a connection wrote.
#[derive(Clone)]
struct Changed {
    by: u64,
    rows: Arc<[RecordId]>,
}

impl MemoryStore {
    /// Returns a connection to an empty store, whose time is this clock's.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::connect(Arc::new(Server {
            clock,
            kept: Mutex::default(),
            changes: broadcast::Sender::new(HINTS),
        }))
    }

    fn connect(server: Arc<Server>) -> Self {
        let number = server.kept.lock().connect();
        Self {
            number,
            hints: tokio::sync::Mutex::new(server.changes.subscribe()),
            page: Mutex::default(),
            server,
        }
    }

    /// Returns how often the store was called, over all connections.
    pub fn calls(&self) -> Calls {
        self.server.kept.lock().calls
    }

    /// Returns the test's own row that a transaction wrote under a key.
    pub fn row(&self, key: &str) -> Option<Vec<u8>> {
        self.server.kept.lock().own.get(key).cloned()
    }

    /// Overwrites a record with bytes that cannot be decoded. Returns whether there was one.
    pub fn spoil(&self, id: &RecordId) -> bool {
        self.server.kept.lock().spoil(id)
    }

    /// Does something with what is kept, at the store's time, which does not go back.
    fn at_now<T>(&self, work: impl FnOnce(&mut Kept, Timestamp) -> T) -> T {
        let mut kept = self.server.kept.lock();
        let now = kept.time(self.server.clock.now());
        work(&mut kept, now)
    }

    /// Tells the other connections which rows were written.
    fn tell(&self, rows: Vec<RecordId>) {
        if !rows.is_empty() {
            // Without other connections there is no receiver.
            let _ = self.server.changes.send(Changed {
                by: self.number,
                rows: rows.into(),
            });
        }
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self::connect(Arc::clone(&self.server))
    }
}

impl Store for MemoryStore {
    type Transaction = MemoryTransaction;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        self.at_now(|kept, now| Ok(kept.read(&ids, now)))
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        let (written, rows) = self.at_now(|kept, now| kept.write(runner, writes, now))?;
        self.tell(rows);
        Ok(written)
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.at_now(|kept, _| Ok(kept.reserve(count)))
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        self.at_now(|kept, now| kept.beat(runner, lease, oldest, now))
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        self.at_now(|kept, now| Ok(kept.retire(runner, until, now)))
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        let mut page = self.page.lock();
        let due = self.at_now(|kept, now| kept.due(page.as_ref(), limit, now));
        *page = (due.len() == limit).then(|| due.last().cloned()).flatten();
        Ok(due)
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        self.at_now(|kept, now| Ok(kept.remove_due(limit, now)))
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        self.at_now(|kept, _| Ok(kept.waiting()))
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        let encoded = self.at_now(|kept, _| kept.letters.get(&id).cloned());
        encoded.as_deref().map(decoded).transpose()
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        self.at_now(|kept, _| {
            let newest_first = kept.letters.values().rev().map(|letter| decoded(letter));
            newest_first
                .filter(|letter| {
                    letter
                        .as_ref()
                        .map_or(true, |letter| filter.matches(letter))
                })
                .take(filter.limit)
                .collect()
        })
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        let open = self.letters(Filter::default().limit(usize::MAX)).await?;
        Ok(open.len() as u64)
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let closed = self.letters(Filter::default().any_state().limit(usize::MAX));
        let mut closed = closed.await?;
        closed.retain(|letter| letter.closed_at.is_some_and(|closed| closed <= until));
        closed.truncate(limit);
        self.at_now(|kept, _| kept.remove_letters(&closed));
        Ok(closed.len() as u64)
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        self.at_now(|kept, _| Ok(kept.notes(&prefix, after.as_deref(), limit)))
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.at_now(|kept, _| Ok(kept.write_notes_if(&changes, &expected)))
    }

    async fn changed(&self) -> Vec<RecordId> {
        let mut hints = self.hints.lock().await;
        loop {
            match hints.recv().await {
                Ok(changed) if changed.by != self.number => return changed.rows.to_vec(),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                // This connection has a sender of its own.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    fn has_transactions(&self) -> bool {
        true
    }

    async fn begin(&self) -> Result<MemoryTransaction, StoreError> {
        Ok(MemoryTransaction::begin(self.clone()))
    }

    async fn close(&self) {}
}

fn decoded(letter: &[u8]) -> Result<DeadLetter, StoreError> {
    DeadLetter::decode(letter).map_err(|error| refused(&error))
}

fn refused(error: &LedgerError) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, error.to_string())
}

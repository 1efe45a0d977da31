//! A store in memory that its client loses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use idem_runtime::ledger::shared::{
    Rows, Runner, Store, StoreError, StoreErrorKind, Write, Written,
};
use idem_runtime::ledger::{ExpectedNote, Filter, Note, NoteChange, UNFINISHED_MIGRATION, Waiting};
use idem_runtime::protocol::{DeadLetter, DeadLetterId, RecordId};
use idem_runtime::testing::MemoryStore;
use jiff::Timestamp;

/// A store whose client is killed at a call: before it takes place, or behind it.
pub(super) struct Cut {
    pub(super) store: MemoryStore,
    pub(super) left: AtomicUsize,
    pub(super) takes_place: bool,
    /// Whether a migration begins just before a heartbeat.
    pub(super) begins: bool,
}

impl Cut {
    pub(super) fn after(calls: usize, takes_place: bool, store: MemoryStore) -> Self {
        let left = AtomicUsize::new(calls);
        Self {
            store,
            left,
            takes_place,
            begins: false,
        }
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let killed = || StoreError::new(StoreErrorKind::Refused, "the client was killed");
        let step = |left: usize| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
        {
            Ok(1) if self.takes_place => {
                call.await?;
                Err(killed())
            }
            Ok(left) if left > 1 => call.await,
            _ => Err(killed()),
        }
    }
}

impl Store for Cut {
    type Transaction = <MemoryStore as Store>::Transaction;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        self.call(self.store.read(ids)).await
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        self.call(self.store.write(runner, writes)).await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.call(self.store.reserve(count)).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        if self.begins {
            let mark = vec![NoteChange::put(UNFINISHED_MIGRATION, [])];
            self.store.write_notes(mark, Vec::new()).await?;
        }
        self.call(self.store.beat(runner, lease, oldest)).await
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        self.call(self.store.retire(runner, until)).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        self.call(self.store.due(limit)).await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        self.call(self.store.remove_due(limit)).await
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        self.call(self.store.waiting()).await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.call(self.store.letter(id)).await
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        self.call(self.store.letters(filter)).await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        self.call(self.store.open_letters()).await
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.call(self.store.remove_letters(until, limit)).await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        self.call(self.store.notes(prefix, after, limit)).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.call(self.store.write_notes(changes, expected)).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

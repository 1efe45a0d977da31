//! A store whose network is bad.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::network::{Network, StoreCall, StoreFault, refused};
use crate::ledger::shared::{
    Rows, Runner, Store, StoreError, StoreErrorKind, StoreTransaction, Write, Written,
};
use crate::ledger::{ExpectedNote, Filter, Note, NoteChange, Waiting};
use crate::protocol::{DeadLetter, DeadLetterId, RecordId};
use crate::testing::ManualClock;

/// A store whose network is bad: as it is told to, or at random. A clone is another handle to the
/// same connection.
#[derive(Clone)]
pub struct UnreliableStore<S> {
    store: Arc<S>,
    network: Arc<Network>,
}

impl<S: Store> UnreliableStore<S> {
    /// Returns a store that fails when it is told to.
    pub fn new(store: S, clock: ManualClock) -> Self {
        Self::on(store, clock, None)
    }

    /// Returns a store of whose calls a quarter fail, never more than three of one kind in a row.
    /// Time passes for a while after each fault. What a ledger cannot ask again by itself goes well:
    /// transactions; a [write of notes](Store::write_notes) at most finds it away.
    pub fn at_random(store: S, clock: ManualClock, seed: u64) -> Self {
        Self::on(store, clock, Some(seed))
    }

    fn on(store: S, clock: ManualClock, seed: Option<u64>) -> Self {
        Self {
            store: Arc::new(store),
            network: Arc::new(Network::new(clock, seed)),
        }
    }

    /// Lets the next call fail; after earlier ones that were named for it, the one behind them.
    pub fn next(&self, call: StoreCall, fault: StoreFault) {
        self.network.next(call, Some(fault));
    }

    /// Lets the next call go well, to name a later one.
    pub fn next_well(&self, call: StoreCall) {
        self.network.next(call, None);
    }

    /// Lets every call fail until it is [mended](Self::mend).
    pub fn always(&self, call: StoreCall, fault: StoreFault) {
        self.network.always(call, fault);
    }

    /// Refuses every batch with a write of this row until it is [mended](Self::mend).
    pub fn refuse(&self, row: RecordId) {
        self.network.refuse(row);
    }

    /// Lets every call go well from now on.
    pub fn mend(&self) {
        self.network.mend();
    }

    async fn call<T: Send + 'static>(
        &self,
        call: StoreCall,
        request: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.network.carry(call, request, |_| None).await
    }

    /// Returns the store for a request that may be made after its caller has gone.
    fn store(&self) -> Arc<S> {
        Arc::clone(&self.store)
    }

    fn transaction(&self, transaction: S::Transaction) -> UnreliableTransaction<S::Transaction> {
        UnreliableTransaction {
            transaction,
            network: Arc::clone(&self.network),
        }
    }
}

impl<S: Store> Store for UnreliableStore<S> {
    type Transaction = UnreliableTransaction<S::Transaction>;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        let store = self.store();
        self.call(StoreCall::Read, async move { store.read(ids).await })
            .await
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        if self.network.is_bad(&writes) {
            return Err(refused());
        }
        let (store, runner) = (self.store(), Runner::clone(runner));
        let request = async move { store.write(&runner, writes).await };
        let other = |written: &Written| {
            let versions = written.versions.iter().map(|version| u64::MAX - version);
            Some(Written {
                versions: versions.collect(),
                now: written.now,
            })
        };
        self.network.carry(StoreCall::Write, request, other).await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        let store = self.store();
        let request = async move { store.reserve(count).await };
        self.call(StoreCall::Reserve, request).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        let (store, runner) = (self.store(), Runner::clone(runner));
        let request = async move { store.beat(&runner, lease, oldest).await };
        self.call(StoreCall::Beat, request).await
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        let (store, runner) = (self.store(), Runner::clone(runner));
        let request = async move { store.retire(&runner, until).await };
        self.call(StoreCall::Retire, request).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        let store = self.store();
        let request = async move { store.due(limit).await };
        self.call(StoreCall::Due, request).await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        let store = self.store();
        let request = async move { store.remove_due(limit).await };
        self.call(StoreCall::RemoveDue, request).await
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        let store = self.store();
        self.call(StoreCall::List, async move { store.waiting().await })
            .await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        let store = self.store();
        self.call(StoreCall::List, async move { store.letter(id).await })
            .await
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        let store = self.store();
        self.call(StoreCall::List, async move { store.letters(filter).await })
            .await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        let store = self.store();
        self.call(StoreCall::List, async move { store.open_letters().await })
            .await
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let store = self.store();
        let request = async move { store.remove_letters(until, limit).await };
        self.call(StoreCall::RemoveLetters, request).await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        let store = self.store();
        let request = async move { store.notes(prefix, after, limit).await };
        self.call(StoreCall::List, request).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        let store = self.store();
        let request = async move { store.write_notes(changes, expected).await };
        self.call(StoreCall::WriteNotes, request).await
    }

    fn watch(&self, id: &RecordId) {
        self.store.watch(id);
    }

    async fn changed(&self) -> Vec<RecordId> {
        self.store.changed().await
    }

    fn has_transactions(&self) -> bool {
        self.store.has_transactions()
    }

    async fn begin(&self) -> Result<Self::Transaction, StoreError> {
        let store = self.store();
        let request = async move { store.begin().await };
        let transaction = self.call(StoreCall::Begin, request).await?;
        Ok(self.transaction(transaction))
    }

    async fn read_and_begin(
        &self,
        id: RecordId,
    ) -> Result<(Rows, Option<Self::Transaction>), StoreError> {
        let store = self.store();
        let request = async move { store.read_and_begin(id).await };
        let (rows, begun) = self.call(StoreCall::Read, request).await?;
        Ok((rows, begun.map(|transaction| self.transaction(transaction))))
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// A transaction of an [`UnreliableStore`].
pub struct UnreliableTransaction<T> {
    /// The store's own transaction.
    pub transaction: T,
    network: Arc<Network>,
}

impl<T: StoreTransaction> StoreTransaction for UnreliableTransaction<T> {
    async fn write(&mut self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        // Within a transaction nothing takes place before its commit.
        match self.network.fault(StoreCall::TransactionWrite) {
            None => self.transaction.write(runner, write).await,
            Some(StoreFault::Silent) => pending().await,
            Some(StoreFault::Refused) => Err(refused()),
            Some(_) => Err(StoreError::new(StoreErrorKind::Away, "it is away")),
        }
    }

    async fn commit(self) -> Result<(), StoreError> {
        let committing = self.transaction.commit();
        let network = self.network;
        network
            .carry(StoreCall::Commit, committing, |()| None)
            .await
    }
}

//! A store on a server whose clock a test moves.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::ledger::shared::{Rows, Runner, Store, StoreError, StoreTransaction, Write, Written};
use crate::ledger::{ExpectedNote, Filter, Note, NoteChange, Waiting};
use crate::protocol::{DeadLetter, DeadLetterId, RecordId};
use crate::testing::ManualClock;

/// Sets the clock of a server, which its store takes the time from.
pub trait ServerClock: Send + Sync + 'static {
    /// Sets the time.
    ///
    /// # Errors
    /// When the server cannot be reached.
    fn set(&self, now: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends the connection that sets the time. The default does nothing.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The time of a server: a test's clock, to which the server's is set before each call.
#[derive(Debug, Clone)]
pub struct ServerTime {
    clock: ManualClock,
    /// What it was set to: of all stores, so that none sets it to an earlier time that it has seen.
    set: Arc<Mutex<Option<Timestamp>>>,
}

impl ServerTime {
    /// Returns the time of a server that goes by this clock.
    pub fn of(clock: ManualClock) -> Self {
        Self {
            clock,
            set: Arc::default(),
        }
    }

    /// Opens a store on the server, whose clock is set first.
    ///
    /// # Errors
    /// Those of the opening, and when the clock cannot be set.
    pub async fn open<S: Store, C: ServerClock>(
        &self,
        server: C,
        opening: impl Future<Output = Result<S, StoreError>>,
    ) -> Result<ClockedStore<S, C>, StoreError> {
        let setter = Setter {
            time: self.clone(),
            server: Arc::new(server),
        };
        setter.set().await?;
        let store = opening.await?;
        Ok(ClockedStore { store, setter })
    }
}

#[derive(Debug)]
struct Setter<C> {
    time: ServerTime,
    server: Arc<C>,
}

impl<C: ServerClock> Setter<C> {
    async fn set(&self) -> Result<(), StoreError> {
        let (mut set, now) = (self.time.set.lock().await, self.time.clock.now());
        if *set != Some(now) {
            self.server.set(now).await?;
            *set = Some(now);
        }
        Ok(())
    }

    fn transaction<T>(&self, transaction: T) -> ClockedTransaction<T, C> {
        let setter = Self {
            time: self.time.clone(),
            server: Arc::clone(&self.server),
        };
        ClockedTransaction {
            transaction,
            setter,
        }
    }
}

/// A store on a server whose clock is set to a test's before each call.
#[derive(Debug)]
pub struct ClockedStore<S, C> {
    store: S,
    setter: Setter<C>,
}

impl<S: Store, C: ServerClock> Store for ClockedStore<S, C> {
    type Transaction = ClockedTransaction<S::Transaction, C>;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        self.setter.set().await?;
        self.store.read(ids).await
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        self.setter.set().await?;
        self.store.write(runner, writes).await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.setter.set().await?;
        self.store.reserve(count).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        self.setter.set().await?;
        self.store.beat(runner, lease, oldest).await
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        self.setter.set().await?;
        self.store.retire(runner, until).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        self.setter.set().await?;
        self.store.due(limit).await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        self.setter.set().await?;
        self.store.remove_due(limit).await
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        self.setter.set().await?;
        self.store.waiting().await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.setter.set().await?;
        self.store.letter(id).await
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        self.setter.set().await?;
        self.store.letters(filter).await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        self.setter.set().await?;
        self.store.open_letters().await
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.setter.set().await?;
        self.store.remove_letters(until, limit).await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        self.setter.set().await?;
        self.store.notes(prefix, after, limit).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.setter.set().await?;
        self.store.write_notes(changes, expected).await
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
        Ok(self.setter.transaction(self.store.begin().await?))
    }

    async fn read_and_begin(
        &self,
        id: RecordId,
    ) -> Result<(Rows, Option<Self::Transaction>), StoreError> {
        self.setter.set().await?;
        let (rows, begun) = self.store.read_and_begin(id).await?;
        Ok((rows, begun.map(|begun| self.setter.transaction(begun))))
    }

    async fn close(&self) {
        self.store.close().await;
        self.setter.server.close().await;
    }
}

/// A transaction of a [`ClockedStore`].
#[derive(Debug)]
pub struct ClockedTransaction<T, C> {
    transaction: T,
    setter: Setter<C>,
}

impl<T: StoreTransaction, C: ServerClock> StoreTransaction for ClockedTransaction<T, C> {
    async fn write(&mut self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        self.setter.set().await?;
        self.transaction.write(runner, write).await
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.setter.set().await?;
        self.transaction.commit().await
    }

    async fn finish(self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        self.setter.set().await?;
        self.transaction.finish(runner, write).await
    }
}

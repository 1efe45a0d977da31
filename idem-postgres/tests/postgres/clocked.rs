//! A server whose clock a test moves.

use std::sync::Arc;
use std::time::Duration;

use idem_postgres::{PostgresStore, PostgresTransaction};
use idem_runtime::clock::Clock;
use idem_runtime::ledger::shared::{
    Rows, Runner, Store, StoreError, StoreErrorKind, StoreTransaction, Write, Written,
};
use idem_runtime::ledger::{ExpectedNote, Filter, Note, NoteChange};
use idem_runtime::protocol::{DeadLetter, DeadLetterId, RecordId};
use idem_runtime::testing::ManualClock;
use jiff::Timestamp;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::Mutex;

use crate::database::Database;

/// A database whose server's clock is the test's: it is set before each call.
#[derive(Debug, Clone)]
pub(crate) struct ClockedDatabase {
    database: Database,
    clock: ManualClock,
    /// What it was set to: of all stores, so that none sets it to an earlier time that it has seen.
    set: Arc<Mutex<Option<Timestamp>>>,
}

impl ClockedDatabase {
    pub(crate) async fn empty(clock: ManualClock) -> anyhow::Result<Self> {
        Self::of(Database::empty().await?, clock).await
    }

    /// Gives the test's clock to this database.
    pub(crate) async fn of(database: Database, clock: ManualClock) -> anyhow::Result<Self> {
        database.store().await?.close().await;
        sqlx::raw_sql(
            "CREATE TABLE idem.test_clock (at timestamptz);
            INSERT INTO idem.test_clock VALUES (NULL);
            CREATE OR REPLACE FUNCTION idem.server_clock() RETURNS timestamptz LANGUAGE sql VOLATILE
                AS $$ SELECT at FROM idem.test_clock $$;",
        )
        .execute(&mut database.connect().await?)
        .await?;
        Ok(Self {
            database,
            clock,
            set: Arc::default(),
        })
    }

    pub(crate) async fn store(&self) -> Result<ClockedStore, StoreError> {
        let pool = PgPoolOptions::new().max_connections(1);
        let setter = pool.connect_lazy(self.database.url()).map_err(of_clock)?;
        let time = Time {
            clock: self.clock.clone(),
            set: Arc::clone(&self.set),
            setter,
        };
        time.set().await?;
        Ok(ClockedStore {
            store: self.database.store().await?,
            time,
        })
    }
}

#[derive(Debug, Clone)]
struct Time {
    clock: ManualClock,
    setter: PgPool,
    set: Arc<Mutex<Option<Timestamp>>>,
}

impl Time {
    async fn set(&self) -> Result<(), StoreError> {
        let (mut set, now) = (self.set.lock().await, self.clock.now());
        if *set != Some(now) {
            sqlx::query("UPDATE idem.test_clock SET at = 'epoch'::timestamptz + $1 * interval '1 microsecond'")
            .bind(now.as_microsecond())
            .execute(&self.setter)
            .await
            .map_err(of_clock)?;
            *set = Some(now);
        }
        Ok(())
    }
}

fn of_clock(error: sqlx::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Away, "the test's clock").source(error)
}

#[derive(Debug)]
pub(crate) struct ClockedStore {
    store: PostgresStore,
    time: Time,
}

impl Store for ClockedStore {
    type Transaction = ClockedTransaction;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        self.time.set().await?;
        self.store.read(ids).await
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        self.time.set().await?;
        self.store.write(runner, writes).await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.time.set().await?;
        self.store.reserve(count).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        self.time.set().await?;
        self.store.beat(runner, lease, oldest).await
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        self.time.set().await?;
        self.store.retire(runner, until).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        self.time.set().await?;
        self.store.due(limit).await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        self.time.set().await?;
        self.store.remove_due(limit).await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.store.letter(id).await
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.letters(filter).await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        self.store.open_letters().await
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.time.set().await?;
        self.store.remove_letters(until, limit).await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        self.store.notes(prefix, after, limit).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.store.write_notes(changes, expected).await
    }

    fn watch(&self, id: &RecordId) {
        self.store.watch(id);
    }

    async fn changed(&self) -> Vec<RecordId> {
        self.store.changed().await
    }

    fn has_transactions(&self) -> bool {
        true
    }

    async fn begin(&self) -> Result<ClockedTransaction, StoreError> {
        Ok(ClockedTransaction {
            transaction: self.store.begin().await?,
            time: self.time.clone(),
        })
    }

    async fn read_and_begin(
        &self,
        id: RecordId,
    ) -> Result<(Rows, Option<ClockedTransaction>), StoreError> {
        self.time.set().await?;
        let (rows, begun) = self.store.read_and_begin(id).await?;
        let time = self.time.clone();
        let begun = begun.map(|transaction| ClockedTransaction { transaction, time });
        Ok((rows, begun))
    }

    async fn close(&self) {
        self.store.close().await;
        self.time.setter.close().await;
    }
}

#[derive(Debug)]
pub(crate) struct ClockedTransaction {
    transaction: PostgresTransaction,
    time: Time,
}

impl StoreTransaction for ClockedTransaction {
    async fn write(&mut self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        self.time.set().await?;
        self.transaction.write(runner, write).await
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.time.set().await?;
        self.transaction.commit().await
    }

    async fn finish(self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        self.time.set().await?;
        self.transaction.finish(runner, write).await
    }
}

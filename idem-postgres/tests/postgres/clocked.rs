//! A server whose clock a test moves.

use idem_postgres::PostgresStore;
use idem_runtime::ledger::shared::{Store, StoreError, StoreErrorKind};
use idem_runtime::testing::{self, ManualClock, ServerClock, ServerTime};
use jiff::Timestamp;
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::database::Database;

/// A database whose server's clock is the test's: it is set before each call.
#[derive(Debug, Clone)]
pub(crate) struct ClockedDatabase {
    database: Database,
    time: ServerTime,
}

pub(crate) type ClockedStore = testing::ClockedStore<PostgresStore, Setter>;

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
            time: ServerTime::of(clock),
        })
    }

    pub(crate) async fn store(&self) -> Result<ClockedStore, StoreError> {
        let pool = PgPoolOptions::new().max_connections(1);
        let setter = pool.connect_lazy(self.database.url()).map_err(of_clock)?;
        self.time.open(Setter(setter), self.database.store()).await
    }
}

/// The connection that sets the clock.
#[derive(Debug)]
pub(crate) struct Setter(PgPool);

impl ServerClock for Setter {
    async fn set(&self, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE idem.test_clock SET at = 'epoch'::timestamptz + $1 * interval '1 microsecond'",
        )
        .bind(now.as_microsecond())
        .execute(&self.0)
        .await
        .map_err(of_clock)?;
        Ok(())
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

fn of_clock(error: sqlx::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Away, "the test's clock").source(error)
}

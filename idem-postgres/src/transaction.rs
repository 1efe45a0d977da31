//! The transaction of an attempt, as the body sees it and as the store does.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_runtime::ledger::AttemptTransaction;
use idem_runtime::ledger::shared::{Runner, StoreError, StoreErrorKind, StoreTransaction, Write};
use sqlx::Postgres;
use sqlx::postgres::{PgConnection, PgPool};

use crate::error::{of_connecting, of_statement};
use crate::feed::Feed;
use crate::schema::Schema;
use crate::store::ToldTime;
use crate::store::write::{Answer, statement};

/// The setting says whose transaction it is, as long as it is open.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL idem.attempt = '1'";

/// The transaction of the attempt that this code runs in, held until it is dropped. See
/// [`transaction`].
pub struct Transaction(AttemptTransaction<PostgresTransaction>);

/// Returns the transaction of the running attempt, which is begun with the first call.
///
/// What the body writes in it and the attempt's result are committed together once the body returns
/// `Ok`, or neither is: an error, a panic, a timeout and a lost claim roll it back. It derefs to
/// sqlx's [`PgConnection`]; `begin` of [`sqlx::Connection`] makes a savepoint. The body must have
/// dropped it when it returns, and must not end the transaction itself.
///
/// ```no_run
/// # use idem_runtime::{Idem, idempotent};
/// #[idempotent(key = "order_no")]
/// async fn place_order(order_no: String, total_cents: i64) -> Result<(), PlaceOrderError> {
///     let mut tx = idem_postgres::transaction().await?;
///     sqlx::query("INSERT INTO orders (order_no, total_cents) VALUES ($1, $2)")
///         .bind(&order_no)
///         .bind(total_cents)
///         .execute(&mut *tx)
///         .await?;
///     Ok(())
/// }
/// # #[derive(Debug, thiserror::Error)]
/// # enum PlaceOrderError {
/// #     #[error(transparent)] Idem(#[from] idem_runtime::Error),
/// #     #[error(transparent)] Sql(#[from] sqlx::Error),
/// # }
/// ```
///
/// # Errors
/// As [`idem_runtime::ledger::transaction`].
pub async fn transaction() -> Result<Transaction, idem_runtime::Error> {
    idem_runtime::ledger::transaction().await.map(Transaction)
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0.transaction
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0.transaction
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// A transaction of a [`PostgresStore`](crate::PostgresStore).
pub struct PostgresTransaction {
    transaction: sqlx::Transaction<'static, Postgres>,
    schema: Schema,
    time: Arc<ToldTime>,
    feed: Arc<Feed>,
    /// What it writes.
    written: Vec<Write>,
}

impl fmt::Debug for PostgresTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction")
            .finish_non_exhaustive()
    }
}

impl PostgresTransaction {
    pub(crate) async fn begin(
        pool: &PgPool,
        schema: &Schema,
        time: &Arc<ToldTime>,
        feed: &Arc<Feed>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            transaction: pool.begin_with(BEGIN).await.map_err(of_connecting)?,
            schema: schema.clone(),
            time: Arc::clone(time),
            feed: Arc::clone(feed),
            written: Vec::new(),
        })
    }
}

impl Deref for PostgresTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for PostgresTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// How the write is planned, whatever the service has set: once for a session, since planning it takes
/// longer than carrying it out. The body has made its statements by then.
const PLAN_ONCE: &str = "SET LOCAL plan_cache_mode = force_generic_plan; \
    SET LOCAL enable_seqscan = off; SET LOCAL jit = off";

impl StoreTransaction for PostgresTransaction {
    async fn write(&mut self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        let (asked, writes) = (Instant::now(), [write]);
        sqlx::raw_sql(PLAN_ONCE)
            .execute(&mut *self.transaction)
            .await
            .map_err(|error| of_statement(error).or_away())?;
        loop {
            let latest = self.time.latest();
            let statement = statement(&self.schema, runner, latest, &writes, true)?;
            let rows = statement.fetch_all(&mut *self.transaction).await;
            // Nothing of it takes place before the commit.
            let rows = rows.map_err(|error| of_statement(error).or_away())?;
            let answer = Answer::of(&rows)?;
            let now = self.time.tell(answer.now);
            // If the server's clock was set, it was not late.
            if !answer.in_time && asked.elapsed() < Duration::from_secs(2) {
                continue;
            }
            if answer.in_time && !answer.in_attempt {
                let message = "the body ended the attempt's transaction, which commits with the \
                    attempt's result: leave COMMIT and ROLLBACK to idem";
                return Err(StoreError::new(StoreErrorKind::Refused, message));
            }
            let took_place = !answer.written(runner, now)?.versions.is_empty();
            if took_place {
                self.written.extend(writes);
            }
            return Ok(took_place);
        }
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(of_statement)?;
        self.feed.wrote(self.written.iter());
        Ok(())
    }
}

/// An error of a statement whose effects need a commit.
trait OrAway {
    fn or_away(self) -> Self;
}

impl OrAway for StoreError {
    fn or_away(mut self) -> Self {
        if self.kind == StoreErrorKind::Lost {
            self.kind = StoreErrorKind::Away;
        }
        self
    }
}

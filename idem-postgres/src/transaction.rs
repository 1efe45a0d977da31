//! The transaction of an attempt, as the body sees it and as the store does.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use idem_runtime::ledger::AttemptTransaction;
use idem_runtime::ledger::shared::{Runner, StoreError, StoreErrorKind, StoreTransaction, Write};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::error::{leaves_connection, of_statement, of_transaction};
use crate::feed::Feed;
use crate::schema::Schema;
use crate::sessions::Session;
use crate::store::ToldTime;
use crate::store::write::{Answer, last_statements, statement};
use crate::time::Time;

/// Returns the statement that begins an attempt's transaction. A setting says whose it is, as long as it
/// is open.
///
/// A process that stands still is ended in it when its claims have passed on: others may wait for
/// the rows that it has locked.
pub(crate) fn begin(lease: Duration, bounced: bool) -> String {
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL idem.attempt = '1'";
    let idle = lease.as_millis().clamp(1, i32::MAX as u128);
    let forget = if bounced { FORGET } else { "" };
    format!("{begin}; SET LOCAL idle_in_transaction_session_timeout = {idle}{forget}")
}

/// What the bodies of others have prepared in the session of a pooler has the names that sqlx gives
/// here, too.
const FORGET: &str = r"; DO $$ DECLARE prepared text; BEGIN
    FOR prepared IN SELECT name FROM pg_prepared_statements WHERE name LIKE 'sqlx\_%' LOOP
        EXECUTE format('DEALLOCATE %I', prepared);
    END LOOP;
END $$";

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
        &self.0.open
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0.open
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// A transaction of a [`PostgresStore`](crate::PostgresStore).
pub struct PostgresTransaction {
    open: Open,
    schema: Schema,
    /// Whether its session has the statements that idem prepares.
    is_prepared: bool,
    /// After which time without a statement the server ends it.
    idle: Duration,
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
    pub(crate) fn new(
        open: Open,
        schema: Schema,
        is_prepared: bool,
        idle: Duration,
        time: Arc<ToldTime>,
        feed: Arc<Feed>,
    ) -> Self {
        Self {
            open,
            schema,
            is_prepared,
            idle,
            time,
            feed,
            written: Vec::new(),
        }
    }
}

impl Deref for PostgresTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.open
    }
}

impl DerefMut for PostgresTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.open
    }
}

/// A session in a transaction. Dropped, it rolls back where it is used.
pub(crate) struct Open(Option<Session>);

impl Open {
    /// Begins a transaction with the statement that [`begin`] returns.
    pub(crate) async fn begin(mut session: Session, begin: &str) -> sqlx::Result<Self> {
        let begin = sqlx::raw_sql(AssertSqlSafe(begin.to_owned()));
        begin.execute(&mut *session).await?;
        Ok(Self(Some(session)))
    }

    /// Begins one with statements of which one is a query, and returns that one's row.
    pub(crate) async fn begin_after_query(
        mut session: Session,
        statements: String,
    ) -> sqlx::Result<(Self, PgRow)> {
        let answer = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(&mut *session);
        let row = answer.await?.pop().ok_or(sqlx::Error::RowNotFound)?;
        Ok((Self(Some(session)), row))
    }

    /// Notes that the transaction was committed.
    fn end(&mut self) {
        if let Some(session) = self.0.take() {
            session.give_back();
        }
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        let Some(mut session) = self.0.take() else {
            return Ok(());
        };
        let committed = sqlx::raw_sql("COMMIT").execute(&mut *session).await;
        if committed.is_ok() {
            session.give_back();
        }
        committed.map(drop).map_err(of_statement)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(mut session) = self.0.take() else {
            return;
        };
        // Elsewhere that runtime may stand still: the server rolls back when the connection is closed.
        let here = Handle::try_current();
        if here.is_ok_and(|here| here.id() == session.runtime()) {
            tokio::spawn(async move {
                let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut *session);
                if matches!(timeout(ROLLING_BACK, rollback).await, Ok(Ok(_))) {
                    session.give_back();
                }
            });
        }
    }
}

/// How long a rollback may take before the connection is closed.
const ROLLING_BACK: Duration = Duration::from_secs(4);

#[expect(clippy::expect_used, reason = "it is taken only with `self` itself")]
impl Deref for Open {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("it is open")
    }
}

#[expect(clippy::expect_used, reason = "it is taken only with `self` itself")]
impl DerefMut for Open {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is open")
    }
}

impl StoreTransaction for PostgresTransaction {
    async fn write(&mut self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        let (asked, writes) = (Instant::now(), [write]);
        loop {
            let latest = self.time.latest();
            let statement = statement(&self.schema, runner, latest, &writes, true)?;
            let rows = statement.fetch_all(&mut *self.open).await;
            // Nothing of it takes place before the commit.
            let rows = rows.map_err(|error| of_transaction(error, self.idle).before_commit())?;
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
        self.open.commit().await?;
        self.feed.wrote(self.written.iter());
        Ok(())
    }

    async fn finish(mut self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        let latest = self.time.latest();
        let last = last_statements(&self.schema, self.is_prepared, runner, latest, &write)?;
        let (mut now, mut failed) = (None::<Time>, None);
        {
            let mut answers = sqlx::raw_sql(AssertSqlSafe(last)).fetch(&mut *self.open);
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(row) => now = Some(row.try_get_unchecked(0).map_err(of_statement)?),
                    Err(error) => failed = Some(error),
                }
            }
        }
        match (now, failed) {
            (Some(now), None) => {
                self.time.tell(now.0);
                self.written.push(write);
                self.feed.wrote(self.written.iter());
                self.open.end();
                Ok(true)
            }
            // The write failed, and it is made again to hear why: the transaction may go on.
            (None, Some(error)) if leaves_connection(&error) => {
                let back = sqlx::raw_sql("ROLLBACK TO SAVEPOINT idem_end");
                // Without a savepoint it fails, as what comes next will.
                let _ = back.execute(&mut *self.open).await;
                let as_expected = self.write(runner, write).await?;
                if as_expected {
                    self.commit().await?;
                }
                Ok(as_expected)
            }
            (_, error) => {
                let error = error.unwrap_or(sqlx::Error::RowNotFound);
                Err(of_transaction(error, self.idle))
            }
        }
    }
}

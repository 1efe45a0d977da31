//! Connections to the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Postgres, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::{leaves_connection, of_connecting, of_statement, said};

/// How long a connection may take to be made.
pub(crate) const CONNECTING: Duration = Duration::from_secs(4);

/// How long connections may take to be closed.
const CLOSING: Duration = Duration::from_secs(4);

/// The settings of idem's own sessions. Statements end before the shared ledger gives them up, so
/// that what it hears of them is certain; plans do not depend on how full a table is.
const SETTINGS: [(&str, &str); 8] = [
    ("statement_timeout", "4500"),
    ("lock_timeout", "3000"),
    ("idle_in_transaction_session_timeout", "5000"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// The same for one transaction, where a pool of the server's forgets what a session has set.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SET LOCAL statement_timeout = 4500; SET LOCAL lock_timeout = 3000; \
    SET LOCAL idle_in_transaction_session_timeout = 5000; SET LOCAL enable_seqscan = off; \
    SET LOCAL jit = off";

/// Where the server is, and how it is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    options: PgConnectOptions,
    /// Whether PgBouncer stands between, which gives each transaction another session.
    pub(crate) bounced: bool,
}

impl Link {
    pub(crate) fn new(options: PgConnectOptions, bounced: bool) -> Self {
        let options = options.disable_statement_logging();
        let options = match options.get_application_name() {
            None => options.application_name("idem"),
            Some(_) => options,
        };
        let options = if bounced {
            options.extra_float_digits(None).statement_cache_capacity(0)
        } else {
            options
        };
        Self { options, bounced }
    }

    /// Returns the options of a session of idem's own.
    fn session(&self, more: &[(&str, &str)]) -> PgConnectOptions {
        if self.bounced {
            return self.options.clone();
        }
        let settings = SETTINGS.iter().chain(more).copied();
        self.options.clone().options(settings)
    }

    /// Connects to whatever server answers, with the session settings of a stranger.
    pub(crate) async fn connect_plainly(&self) -> Result<PgConnection, StoreError> {
        let connecting = timeout(CONNECTING, self.options.connect()).await;
        let late = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        let connection = connecting.unwrap_or_else(|_| Err(late()));
        connection.map_err(|error| self.of_connecting(error))
    }

    /// Connects to the primary.
    pub(crate) async fn connect(&self, more: &[(&str, &str)]) -> Result<PgConnection, StoreError> {
        let connecting = async {
            let connected = self.session(more).connect().await;
            let mut connection = connected.map_err(|error| self.of_connecting(error))?;
            // Not prepared: a pooler may send the next message to another session.
            let standby = sqlx::raw_sql("SELECT pg_is_in_recovery()")
                .fetch_one(&mut connection)
                .await
                .and_then(|row| row.try_get(0))
                .map_err(of_connecting)?;
            if standby {
                return Err(StoreError::new(
                    StoreErrorKind::Away,
                    "the server is a standby, on which nothing can be written",
                ));
            }
            Ok(connection)
        };
        timeout(CONNECTING, connecting).await.unwrap_or_else(|_| {
            let message = "no connection was made in time";
            Err(StoreError::new(StoreErrorKind::Away, message))
        })
    }

    /// Classifies the error of a connection that could not be made, maybe because of a pooler.
    fn of_connecting(&self, error: sqlx::Error) -> StoreError {
        let mut error = of_connecting(error);
        // PgBouncer's answer to all that it cannot do, a session's settings among it.
        if !self.bounced && said(&error, "08P01") {
            error.message += "; through PgBouncer, open with `pgbouncer(true)`, or `pgbouncer=true` in \
                              the URL";
        }
        error
    }

    /// Returns a pool of one session of idem's own, as a listener needs it, which connects when it is
    /// needed.
    pub(crate) fn listening(&self, more: &[(&str, &str)]) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECTING)
            .test_before_acquire(false)
            .connect_lazy_with(self.session(more))
    }
}

/// One connection, which is made again after it failed.
#[derive(Debug)]
pub(crate) struct Line {
    link: Link,
    more: &'static [(&'static str, &'static str)],
    connection: Mutex<Option<PgConnection>>,
    /// Whether the connection was made since [`is_new`](Self::is_new) was asked last.
    is_new: AtomicBool,
}

impl Line {
    pub(crate) fn new(link: Link, more: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            link,
            more,
            connection: Mutex::default(),
            is_new: AtomicBool::default(),
        }
    }

    /// Returns whether the connection was made since this was asked last.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new.swap(false, Ordering::Relaxed)
    }

    /// Runs one statement as a transaction of its own, and returns its rows once it is committed.
    pub(crate) async fn rows(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut held = self.connection.lock().await;
        // Taken out: a call that is dropped in the middle takes the connection with it.
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => {
                let connection = Box::pin(self.link.connect(self.more)).await?;
                self.is_new.store(true, Ordering::Relaxed);
                connection
            }
        };
        let answer = run(&mut connection, query, self.link.bounced).await;
        if answer.as_ref().err().is_none_or(leaves_connection) {
            *held = Some(connection);
        }
        answer.map_err(of_statement)
    }

    pub(crate) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            // Closed it is in any case.
            let _ = connection.close().await;
        }
    }
}

/// Closes a pool, and does not wait for connections that the network has lost.
pub(crate) async fn close(pool: &PgPool) {
    let _ = timeout(CLOSING, pool.close()).await;
}

/// All rows are fetched: the answer to the commit comes behind the last of them.
pub(crate) async fn run(
    connection: &mut PgConnection,
    query: Query<'_, Postgres, PgArguments>,
    begins: bool,
) -> sqlx::Result<Vec<PgRow>> {
    if !begins {
        return query.fetch_all(connection).await;
    }
    // sqlx names a statement even where it keeps none, and another session may have the name.
    let query = query.persistent(false);
    sqlx::raw_sql(BEGIN).execute(&mut *connection).await?;
    let rows = query.fetch_all(&mut *connection).await;
    let end = if rows.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = sqlx::raw_sql(end).execute(connection).await;
    let rows = rows?;
    ended?;
    Ok(rows)
}

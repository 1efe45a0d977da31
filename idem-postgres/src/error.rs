//! What an error of the database says about a request, by its code and never by its words.

use std::error::Error;
use std::time::Duration;

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Classifies the error of a statement that is its own transaction.
pub(crate) fn of_statement(error: sqlx::Error) -> StoreError {
    let kind = match &error {
        sqlx::Error::Database(_) => of_code(database(&error)),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => StoreErrorKind::Away,
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => StoreErrorKind::Lost,
        sqlx::Error::WorkerCrashed => StoreErrorKind::Lost,
        // It was not sent, or its answer cannot be read.
        _ => StoreErrorKind::Refused,
    };
    told(kind, error)
}

/// Classifies the error of a connection that could not be made.
pub(crate) fn of_connecting(error: sqlx::Error) -> StoreError {
    told(StoreErrorKind::Away, error)
}

/// Classifies the error of an attempt's transaction, which the server ends after `idle` without a
/// statement: its commit then never came.
pub(crate) fn of_transaction(error: sqlx::Error, idle: Duration) -> StoreError {
    if database(&error).is_none_or(|error| error.code() != IDLE) {
        return of_statement(error);
    }
    let message = format!(
        "the body ran no statement in its transaction for {idle:?}, the lease, and PostgreSQL rolled it \
         back: do what takes long before `transaction()`, or open the ledger with a longer \
         `Postgres::lease`"
    );
    StoreError::new(StoreErrorKind::Refused, message).source(SqlState(IDLE.to_owned()))
}

/// Returns whether a connection can be used after an error.
pub(crate) fn leaves_connection(error: &sqlx::Error) -> bool {
    // A primary that was demoted answers, but takes no write any more.
    database(error).is_some_and(|error| is_error(error) && error.code() != READ_ONLY)
}

pub(crate) const READ_ONLY: &str = "25006";
const ABORTED: &str = "25P02";
/// What ends a session whose transaction stood still.
const IDLE: &str = "25P03";
const TOO_MANY_CONNECTIONS: &str = "53300";
pub(crate) const UNIQUE_VIOLATION: &str = "23505";

fn database(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<PgDatabaseError>()
}

/// Returns whether the statement was rolled back, and the session goes on.
fn is_error(error: &PgDatabaseError) -> bool {
    error.severity() == PgSeverity::Error
}

/// The codes are in [appendix A](https://www.postgresql.org/docs/current/errcodes-appendix.html) of
/// PostgreSQL's manual.
fn of_code(error: Option<&PgDatabaseError>) -> StoreErrorKind {
    let Some(error) = error.filter(|error| is_error(error)) else {
        // The session ended, with the answer to a commit perhaps.
        return StoreErrorKind::Lost;
    };
    match error.code() {
        READ_ONLY => StoreErrorKind::Away,
        code => match code.get(..2) {
            // Connections; rolled back for others; resources; object in use; operator; system.
            Some("08" | "40" | "53" | "55" | "57" | "58") => StoreErrorKind::Away,
            _ => StoreErrorKind::Refused,
        },
    }
}

/// sqlx's own texts hold their causes, so the causes are taken out of its errors.
fn told(kind: StoreErrorKind, error: sqlx::Error) -> StoreError {
    if let Some(error) = database(&error) {
        // The error itself may name values in its detail, so its code alone is the source.
        return StoreError::new(kind, in_words(error)).source(SqlState(error.code().to_owned()));
    }
    let caused = |message, source: Box<dyn Error + Send + Sync>| StoreError {
        source: Some(source.into()),
        ..StoreError::new(kind, message)
    };
    match error {
        sqlx::Error::Io(source) if kind == StoreErrorKind::Away => {
            caused("no connection was made", source.into())
        }
        sqlx::Error::Io(source) => caused("the connection broke", source.into()),
        sqlx::Error::Tls(source) => caused("TLS cannot be used", source),
        sqlx::Error::PoolTimedOut => StoreError::new(kind, "all connections are in use"),
        error => StoreError::new(kind, error.to_string()),
    }
}

/// The code of an error of the database.
#[derive(Debug, thiserror::Error)]
#[error("SQLSTATE {0}")]
struct SqlState(String);

/// Returns whether the database said this.
pub(crate) fn said(error: &StoreError, code: &str) -> bool {
    let source = error.source.as_deref();
    source.is_some_and(|source| {
        source
            .downcast_ref::<SqlState>()
            .is_some_and(|state| state.0 == code)
    })
}

/// Returns what happened, without a value of a payload.
fn in_words(error: &PgDatabaseError) -> String {
    let code = error.code();
    match code.get(..2) {
        // Their words quote values.
        Some("22" | "23" | "P0") | None => "PostgreSQL refused a value".to_owned(),
        Some("25") if code == ABORTED => "a statement of the body failed, and PostgreSQL takes no \
            more in this transaction: return its error from the body, or run what may fail in a \
            savepoint"
            .to_owned(),
        Some("53") if code == TOO_MANY_CONNECTIONS => format!(
            "{}: allow more connections, or open fewer; docs/postgres.md says how many a process takes",
            error.message()
        ),
        _ => error.message().to_owned(),
    }
}

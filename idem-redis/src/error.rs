//! What an error of the client or the server says about a request, by its code and never by its words.

use std::error::Error;
use std::sync::Arc;

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Classifies the error of a request that was sent.
pub(crate) fn of_request(error: RedisError) -> StoreError {
    let kind = match error.kind() {
        // It may have been sent.
        ErrorKind::Io | ErrorKind::Parse => StoreErrorKind::Lost,
        ErrorKind::Server(kind) => of_server(kind),
        ErrorKind::Extension => of_code(error.code()),
        _ => StoreErrorKind::Refused,
    };
    told(kind, error)
}

/// Classifies the error of a connection that could not be made: nothing was sent on it.
pub(crate) fn of_connecting(error: RedisError) -> StoreError {
    match of_tls(&error) {
        Some(message) => StoreError::new(StoreErrorKind::Away, message).source(error),
        None => told(StoreErrorKind::Away, error),
    }
}

/// Returns what to do about a connection that could not be encrypted.
fn of_tls(error: &RedisError) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Tls};
    let error: &Arc<dyn Error + Send + Sync> = error.source()?.downcast_ref()?;
    let error = error.downcast_ref::<std::io::Error>()?;
    let message = match error.get_ref()?.downcast_ref::<Tls>()? {
        Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => {
            "the server's certificate is of another name: name it in the URL as its certificate does"
        }
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => {
            "the server's certificate is of an unknown authority: give the authority's own with \
             `Redis::root_certificates`"
        }
        Tls::InvalidCertificate(_) => "the server's certificate is not valid: renew it",
        Tls::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => {
            "the server wants a certificate of its clients: give one with `Redis::client_certificate`"
        }
        Tls::AlertReceived(_) => "the server refused the client's certificate",
        _ => return None,
    };
    Some(message)
}

/// Returns whether a connection can be used after an error.
pub(crate) fn leaves_connection(error: &RedisError) -> bool {
    // A primary that was demoted answers, but takes no write any more.
    let is_demoted = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
    let is_answer = matches!(
        error.kind(),
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType
    );
    is_answer && !is_demoted
}

pub(crate) fn has_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// A script that the server refuses has changed nothing.
fn of_server(kind: ServerErrorKind) -> StoreErrorKind {
    match kind {
        ServerErrorKind::BusyLoading
        | ServerErrorKind::NoScript
        | ServerErrorKind::Moved
        | ServerErrorKind::Ask
        | ServerErrorKind::TryAgain
        | ServerErrorKind::ClusterDown
        | ServerErrorKind::MasterDown
        | ServerErrorKind::ReadOnly => StoreErrorKind::Away,
        _ => StoreErrorKind::Refused,
    }
}

/// The codes that the client has no kind for: out of memory, too few replicas, a script of another client
/// that does not end, a disk that takes no more.
fn of_code(code: Option<&str>) -> StoreErrorKind {
    match code {
        Some("OOM" | "NOREPLICAS" | "BUSY" | "MISCONF") => StoreErrorKind::Away,
        _ => StoreErrorKind::Refused,
    }
}

/// What a handler can run again when the slot has moved: nothing of it is known meanwhile.
pub(crate) fn slot_moves() -> StoreError {
    StoreError::new(StoreErrorKind::Away, SLOT_MOVES)
}

const SLOT_MOVES: &str = "the ledger's slot is being moved to another node of the cluster: the \
    ledger goes on when all of its keys are there";

fn told(kind: StoreErrorKind, error: RedisError) -> StoreError {
    let message = match (kind, error.code()) {
        (_, Some("OOM")) => "the server is out of memory (`maxmemory`), and takes no write".into(),
        (_, Some("READONLY")) => "the server is a replica, and takes no write".into(),
        (_, Some("ASK" | "TRYAGAIN")) => SLOT_MOVES.into(),
        (_, Some("CLUSTERDOWN")) => {
            "the cluster is down, or no node serves the ledger's slot".into()
        }
        (_, Some(code)) => format!("the server answered {code}"),
        (StoreErrorKind::Away, None) => "no connection was made".into(),
        (_, None) => "the connection broke".into(),
    };
    StoreError::new(kind, message).source(error)
}

/// Returns the error of an answer that cannot be read.
pub(crate) fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        format!("the server's answer cannot be read: {error}"),
    )
}

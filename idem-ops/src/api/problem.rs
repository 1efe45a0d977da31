//! Errors of the API as problem details (RFC 9457).

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use idem_runtime::dead_letters::{EraseError, LetterError};
use idem_runtime::ledger::LedgerError;
use serde::{Deserialize, Serialize};

use crate::auth::AuthError;
use crate::service::ServiceError;

/// The error of a request, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// The kind of problem, for programs: `no_such_letter`, `invalid`, `unauthorized`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// The status's name.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do, for people.
    pub detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            title: status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let (status, kind) = classify(&error);
        Self::new(status, kind, format!("{error:#}"))
    }
}

/// Returns the status, which the pages have too, and the kind.
pub(crate) fn classify(error: &ServiceError) -> (StatusCode, &'static str) {
    match error {
        ServiceError::NoSuchLetter(_) => (StatusCode::NOT_FOUND, "no_such_letter"),
        ServiceError::NoSuchBulk(_) => (StatusCode::NOT_FOUND, "no_such_bulk"),
        ServiceError::NoSuchRule(_) => (StatusCode::NOT_FOUND, "no_such_rule"),
        ServiceError::NoSuchHandler { .. } => (StatusCode::NOT_FOUND, "no_such_handler"),
        ServiceError::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
        ServiceError::CannotRun { .. } => (StatusCode::CONFLICT, "cannot_run"),
        ServiceError::CannotPublish { .. } => (StatusCode::CONFLICT, "cannot_publish"),
        ServiceError::NoBackups => (StatusCode::CONFLICT, "no_backups"),
        ServiceError::NotPaused { .. } => (StatusCode::CONFLICT, "not_paused"),
        ServiceError::BulkEnded(_) => (StatusCode::CONFLICT, "bulk_ended"),
        ServiceError::Note { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "unreadable"),
        ServiceError::Letter(error) => classify_letter(error),
        ServiceError::Erase(EraseError::Ledger { source }) | ServiceError::Ledger(source) => {
            classify_ledger(source)
        }
        ServiceError::Erase(_) => (StatusCode::CONFLICT, "unsettled"),
    }
}

fn classify_letter(error: &LetterError) -> (StatusCode, &'static str) {
    match error {
        LetterError::NoSuchLetter { .. } => (StatusCode::NOT_FOUND, "no_such_letter"),
        LetterError::LetterClosed { .. } | LetterError::NotRestorable { .. } => {
            (StatusCode::CONFLICT, "letter_closed")
        }
        LetterError::NoHandler { .. }
        | LetterError::Redacted { .. }
        | LetterError::Sealed { .. } => (StatusCode::CONFLICT, "cannot_run"),
        LetterError::NoPublisher { .. } | LetterError::Incomplete { .. } => {
            (StatusCode::CONFLICT, "cannot_publish")
        }
        LetterError::NotPublished { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not_published"),
        LetterError::PayloadUnfit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "payload_unfit"),
        LetterError::Ledger { source } => classify_ledger(source),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "refused"),
    }
}

fn classify_ledger(error: &LedgerError) -> (StatusCode, &'static str) {
    let kind = match error {
        LedgerError::Closed => "closed",
        LedgerError::NotCopied { .. } => return (StatusCode::CONFLICT, "not_copied"),
        _ => "ledger",
    };
    (StatusCode::SERVICE_UNAVAILABLE, kind)
}

impl IntoResponse for AuthError {
    fn into_response(self) -> Response {
        let (status, kind) = match self {
            Self::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_failures"),
            Self::Anonymous | Self::Wrong => (StatusCode::UNAUTHORIZED, "unauthorized"),
        };
        let mut response = Problem::new(status, kind, self.to_string()).into_response();
        let headers = response.headers_mut();
        match self {
            Self::TooMany { wait } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            }
            Self::Anonymous | Self::Wrong => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"idem\""),
                );
            }
        }
        response
    }
}

//! Problem details of RFC 9457: what clients are told when nothing ran.

use std::fmt;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use idem_runtime::Error;
use serde_json::json;

use crate::body::{Body, full};

/// The beginning of each problem's `type`.
const TYPES: &str = "urn:idem:problem:";

/// When a client may try again where nothing says when.
const SOON: Duration = Duration::from_secs(1);

/// An answer of idem's own, as problem details: `application/problem+json` with a stable `type`,
/// and `Retry-After` where trying again helps.
///
/// As the error of an annotated handler behind a route it needs no mapping. Its text for clients
/// names no handler and no cause; the cause is logged.
///
/// ```
/// use idem_http::Problem;
///
/// let error = idem_runtime::Error::NotInstalled { handler: "orders.place".into() };
/// assert_eq!(Problem::from(error).status(), 500);
/// ```
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
    pub(crate) retry_after: Option<Duration>,
    source: Option<Box<Error>>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            name,
            title,
            detail: detail.into(),
            retry_after: None,
            source: None,
        }
    }

    fn again(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub(crate) fn key_missing() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "key-missing",
            "The request has no idempotency key",
            "Send the header `Idempotency-Key` with a new value for each operation, and the same \
             value when you repeat it.",
        )
    }

    pub(crate) fn key_invalid(why: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "key-invalid",
            "The idempotency key cannot be read",
            format!("In the header `Idempotency-Key`, {why}."),
        )
    }

    pub(crate) fn no_principal() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "no-principal",
            "The request names no caller",
            "Keys belong to a caller, and the request has no credentials.",
        )
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The request's body is too large",
            format!("The limit is {limit} bytes. Nothing was done."),
        )
    }

    pub(crate) fn body_cut() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "body-cut",
            "The request's body ended early",
            "Nothing was done. Send the request again.",
        )
    }

    pub(crate) fn in_progress() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "in-progress",
            "The same request is being processed",
            "Ask again with the same key later.",
        )
        .again(SOON)
    }

    pub(crate) fn answer_not_kept() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "answer-not-kept",
            "The request was done before",
            "Its answer is no longer kept. Look at what it made in place of repeating it.",
        )
    }

    pub(crate) fn streaming() -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "streaming",
            "Streaming calls have no idempotency keys",
            "Nothing was done. A call with a key has one message.",
        )
    }

    pub(crate) fn compressed() -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "compressed",
            "The message is compressed, and its key is in it",
            "Nothing was done. Send the message without compression.",
        )
    }

    pub(crate) fn overloaded() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "The service is busy",
            "Nothing was done. Send the same request with the same key later.",
        )
        .again(SOON)
    }

    pub(crate) fn failed() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            "The request failed",
            "It was tried as often as it may be, and is looked into. Sending it again has no effect.",
        )
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "interrupted",
            "The request was interrupted",
            "Send the same request with the same key again.",
        )
        .again(SOON)
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Logs a cause that is the server's.
    pub(crate) fn log(&self) {
        if let Some(error) = &self.source
            && self.status.is_server_error()
        {
            tracing::error!(
                handler = error.handler(),
                key = error.key(),
                error = format_args!("{error:#}"),
                "a request was not done"
            );
        }
    }

    /// Returns the problem as a response, and logs a cause that is the server's.
    pub fn into_response(self) -> Response<Body> {
        self.log();
        let details = json!({
            "type": format!("{TYPES}{}", self.name),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(full(details.to_string().into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, json);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let problem = match &error {
            Error::KeyReused { .. } | Error::KeyMismatch { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-reused",
                "The idempotency key belongs to another request",
                "Nothing was done. Send another request under a key of its own.",
            ),
            Error::InProgress { .. } => Self::in_progress(),
            Error::InvalidKey { .. } => Self::key_invalid("the key is empty or too long"),
            Error::NotIssued { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-not-issued",
                "The idempotency key was not issued, or has expired",
                "Nothing was done. Ask for a key first.",
            ),
            Error::PayloadTooLarge { limit, .. } => Self::body_too_large(*limit),
            Error::ResultTooLarge { .. } | Error::ResultErased { .. } => Self::answer_not_kept(),
            Error::DeadLettered { .. } => Self::failed(),
            Error::Panicked { .. } | Error::TimedOut { .. } => Self::interrupted(),
            Error::Codec { .. }
            | Error::NotInstalled { .. }
            | Error::AlreadyInstalled
            | Error::NameTaken { .. }
            | Error::NoTransaction { .. }
            | Error::OutsideHandler
            | Error::OutboxMessageTooLarge { .. } => {
                Self::broken("Sending the request again has no effect until that is mended.")
            }
            Error::Paused { retry_after, .. } => Self::unavailable().again(*retry_after),
            Error::NotYet { after, .. } => Self::unavailable().again(*after),
            // The ledger is away, another attempt goes on, or the service stops.
            _ => Self::unavailable(),
        };
        Self {
            source: Some(Box::new(error)),
            ..problem
        }
    }
}

impl Problem {
    fn broken(detail: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "broken",
            "The service is set up wrongly",
            detail,
        )
    }

    fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The request cannot be processed now",
            "Send the same request with the same key later: it is not done twice.",
        )
        .again(SOON)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        tracing::error!(%error, "an answer cannot be turned into JSON");
        Self::broken("The answer cannot be written.")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(error) => fmt::Display::fmt(error, f),
            None => write!(f, "{}: {}", self.status, self.title),
        }
    }
}

impl std::error::Error for Problem {}

//! Failed attempts: what a letter says of the answer, and how that becomes the answer again.

use std::fmt::{self, Write};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use crate::body::{Body, full};
use crate::headers::TRUNCATED;

/// The largest answer that a letter keeps. The runtime cuts an error's text at 4 KiB.
const LARGEST: usize = 4000;

/// Why a request was not done.
pub(crate) enum Failure<E> {
    /// The answer, as the letter has it.
    Failed(String),
    /// The same, of an attempt that is not charged.
    Outage(String),
    /// The key is free again.
    Released,
    /// The inner service returned an error.
    Service(E),
    /// idem refused.
    Idem(idem_runtime::Error),
}

impl<E> Failure<E> {
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Outage(_))
    }

    pub(crate) fn is_released(&self) -> bool {
        matches!(self, Self::Released)
    }
}

impl<E> From<idem_runtime::Error> for Failure<E> {
    fn from(error: idem_runtime::Error) -> Self {
        Self::Idem(error)
    }
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) | Self::Outage(text) => f.write_str(text),
            Self::Released => f.write_str("the key was released"),
            Self::Service(error) => write!(f, "the inner service failed: {error:#}"),
            Self::Idem(error) => write!(f, "{error:#}"),
        }
    }
}

/// Returns an answer as text: its status, its content type, and its body where that is short text.
pub(crate) fn text(status: StatusCode, headers: &HeaderMap, body: Option<&[u8]>) -> String {
    let mut text = status.to_string();
    let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if let Some(content_type) = content_type {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{CONTENT_TYPE}: {content_type}");
    }
    let body = body.and_then(|body| std::str::from_utf8(body).ok());
    match body.filter(|body| text.len() + body.len() < LARGEST) {
        Some(body) => text + "\n\n" + body,
        None => text,
    }
}

/// Returns the answer of such a text, or `None` if it is none.
pub(crate) fn answer(text: &str) -> Option<Response<Body>> {
    let (head, body) = match text.split_once("\n\n") {
        Some((head, body)) => (head, Some(body)),
        None => (text, None),
    };
    let (status, header) = match head.split_once('\n') {
        Some((status, header)) => (status, Some(header)),
        None => (head, None),
    };
    let status = StatusCode::from_bytes(status.get(..3)?.as_bytes()).ok()?;
    // What else begins with three digits is not an answer's text.
    if !text.starts_with(&status.to_string()) {
        return None;
    }
    let bytes = Bytes::copy_from_slice(body.unwrap_or_default().as_bytes());
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some(value) = header.and_then(|header| header.strip_prefix("content-type: ")) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(value).ok()?);
    }
    if body.is_none() {
        headers.insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    Some(response)
}

//! Statuses of gRPC: what an answer ends with, and how idem refuses.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::response::{Parts, Response};
use http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use crate::body::{Body, full};
use crate::disposition::Disposition;
use crate::headers::PROBLEM;
use crate::problem::Problem;

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// When a client may try again, in milliseconds; a negative number says that it may not
/// (gRPC's proposal A6, "Pushback").
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What `grpc-message` has to encode: all but printable ASCII, and the percent sign ("gRPC over
/// HTTP2", Responses).
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The longest message that a letter keeps, in bytes.
const LONGEST: usize = 4000;

/// The codes, by their numbers.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What a call ended with.
pub(crate) struct Status {
    pub(crate) code: i32,
    message: String,
}

/// Returns what a code means for the key where no option says so.
pub(super) fn disposition(code: i32) -> Disposition {
    match name(code) {
        "OK"
        | "INVALID_ARGUMENT"
        | "NOT_FOUND"
        | "ALREADY_EXISTS"
        | "FAILED_PRECONDITION"
        | "OUT_OF_RANGE" => Disposition::Record,
        "CANCELLED" | "PERMISSION_DENIED" | "RESOURCE_EXHAUSTED" | "UNIMPLEMENTED"
        | "UNAUTHENTICATED" => Disposition::Release,
        _ => Disposition::Fail,
    }
}

/// Returns a code's name. One that is not known counts as `UNKNOWN` ("Status codes and their use in
/// gRPC").
fn name(code: i32) -> &'static str {
    let known = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    known.copied().unwrap_or("UNKNOWN")
}

fn code(name: &str) -> Option<i32> {
    let at = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(at).ok()
}

impl Status {
    pub(crate) const OK: i32 = 0;

    fn new(name: &str, message: impl Into<String>) -> Self {
        Self {
            code: code(name).unwrap_or(2),
            message: message.into(),
        }
    }

    /// Reads an answer's status: from its trailers, or its headers if it has no more than these.
    pub(crate) fn of(answer: &Parts, trailers: Option<&HeaderMap>) -> Self {
        let all = trailers.into_iter().chain([&answer.headers]);
        let mut read = all.filter_map(|headers| {
            let status = headers.get(STATUS)?.to_str().ok()?;
            let message = headers.get(MESSAGE).map_or(&b""[..], HeaderValue::as_bytes);
            Some(Self {
                code: status.parse().ok()?,
                message: percent_decode(message).decode_utf8_lossy().into_owned(),
            })
        });
        read.next()
            .unwrap_or_else(|| Self::new(of_http(answer.status), "the answer has no grpc-status"))
    }

    /// Returns an answer that is no more than this status. It says when to try again, or that trying
    /// again has no effect.
    pub(crate) fn into_response(self, again: Option<Duration>) -> Response<Body> {
        let mut response = Response::new(full(Bytes::new()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(STATUS, self.code.into());
        let message: Cow<'_, str> = percent_encode(self.message.as_bytes(), ENCODED).into();
        // What is encoded is always a header's value.
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert(MESSAGE, message);
        }
        let pushback = match again {
            None => HeaderValue::from_static("-1"),
            Some(again) => u64::try_from(again.as_millis()).unwrap_or(u64::MAX).into(),
        };
        headers.insert(PUSHBACK, pushback);
        response
    }

    /// Reads what [`Display`](fmt::Display) writes. Returns `None` if it is anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (head, message) = text.split_once("\n\n").unwrap_or((text, ""));
        let (number, of_number) = head.split_once(' ')?;
        let code = number.parse().ok()?;
        (name(code) == of_number).then(|| Self {
            code,
            message: message.to_owned(),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, name(self.code))?;
        match self.message.len() {
            1..LONGEST => write!(f, "\n\n{}", self.message),
            _ => Ok(()),
        }
    }
}

/// Returns the code's name for an answer that is not one of gRPC ("HTTP to gRPC Status Code
/// Mapping").
fn of_http(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "INTERNAL",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "UNIMPLEMENTED",
        429 | 502 | 503 | 504 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

/// Returns a problem as gRPC says it: a status, the problem's name as metadata, and when to try
/// again.
pub(crate) fn refused(problem: &Problem) -> Response<Body> {
    problem.log();
    let code = match problem.name {
        "key-missing" | "key-invalid" | "body-cut" => "INVALID_ARGUMENT",
        "no-principal" => "UNAUTHENTICATED",
        "in-progress" => "ABORTED",
        "answer-not-kept" => "ALREADY_EXISTS",
        "body-too-large" => "RESOURCE_EXHAUSTED",
        "key-reused" | "key-not-issued" => "FAILED_PRECONDITION",
        "streaming" | "compressed" => "UNIMPLEMENTED",
        "overloaded" | "unavailable" => "UNAVAILABLE",
        // interrupted, failed, broken
        _ => "INTERNAL",
    };
    let message = format!("{}. {}", problem.title, problem.detail);
    let mut response = Status::new(code, message).into_response(problem.retry_after);
    let name = HeaderValue::from_static(problem.name);
    response.headers_mut().insert(PROBLEM, name);
    response
}

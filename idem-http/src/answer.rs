//! Answers as they are recorded, and replayed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::response::{Parts, Response};
use serde::{Deserialize, Serialize};

use crate::body::{Body, with_trailers};
use crate::headers::{AGE, REPLAYED, TRUNCATED};

/// An answer that can be recorded: status, headers, and the body byte for byte.
///
/// The layer records answers as these. An annotated handler behind a route may return one: then
/// what is wrong with a request, as 422 for an order of no pieces, is a result, and no letter.
///
/// ```
/// use http::StatusCode;
/// use idem_http::{Answer, Problem};
/// use idem_runtime::idempotent;
///
/// #[idempotent(name = "orders.place", key = "key")]
/// async fn place_order(key: &str, qty: u32) -> Result<Answer, Problem> {
///     if qty == 0 {
///         return Ok(Answer::text(StatusCode::UNPROCESSABLE_ENTITY, "an order has a piece at least"));
///     }
///     Ok(Answer::json(StatusCode::CREATED, &serde_json::json!({ "qty": qty }))?)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Octets)>,
    /// Where gRPC has its status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(String, Octets)>,
    /// `None` if the body was not kept.
    body: Option<Octets>,
}

/// Bytes: as text where they are text, so that people can read them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Octets {
    Text(String),
    Base64(String),
}

impl From<&[u8]> for Octets {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }
}

impl Octets {
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into(),
            // This crate wrote it.
            Self::Base64(text) => STANDARD.decode(text).unwrap_or_default().into(),
        }
    }
}

impl Answer {
    /// Returns an answer with a JSON body.
    ///
    /// # Errors
    /// When the value cannot be turned into JSON.
    pub fn json(status: StatusCode, value: &impl Serialize) -> serde_json::Result<Self> {
        let body = serde_json::to_string(value)?;
        Ok(Self::new(status, "application/json", body))
    }

    /// Returns an answer with a body of plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", text.into())
    }

    fn new(status: StatusCode, content_type: &str, body: String) -> Self {
        Self {
            status: status.as_u16(),
            headers: vec![(
                CONTENT_TYPE.to_string(),
                Octets::Text(content_type.to_owned()),
            )],
            trailers: Vec::new(),
            body: Some(Octets::Text(body)),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &HeaderName, value: &HeaderValue) -> Self {
        let value = Octets::from(value.as_bytes());
        self.headers.push((name.to_string(), value));
        self
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or_default()
    }

    /// Records an answer: of its headers and trailers those that are `kept`, and the body, if it is
    /// kept.
    pub(crate) fn recorded(
        answer: &Parts,
        trailers: Option<&HeaderMap>,
        kept: &[HeaderName],
        body: Option<&[u8]>,
    ) -> Self {
        Self {
            status: answer.status.as_u16(),
            headers: recorded(&answer.headers, kept),
            trailers: trailers.map_or_else(Vec::new, |trailers| recorded(trailers, kept)),
            body: body.map(Octets::from),
        }
    }

    /// Whether the body was kept.
    pub(crate) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Returns the answer as a response. One whose body was not kept says so.
    pub fn into_response(self) -> Response<Body> {
        let (status, was_kept) = (self.status(), self.has_body());
        let body = self.body.map(Octets::into_bytes).unwrap_or_default();
        let trailers = (!self.trailers.is_empty()).then(|| restored(self.trailers));
        let mut response = Response::new(with_trailers(body, trailers));
        *response.status_mut() = status;
        *response.headers_mut() = restored(self.headers);
        if !was_kept {
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert(TRUNCATED, yes);
        }
        response
    }
}

fn recorded(headers: &HeaderMap, kept: &[HeaderName]) -> Vec<(String, Octets)> {
    let recorded = headers.iter().filter(|(name, _)| kept.contains(name));
    recorded
        .map(|(name, value)| (name.to_string(), Octets::from(value.as_bytes())))
        .collect()
}

fn restored(recorded: Vec<(String, Octets)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in recorded {
        let name = HeaderName::try_from(name);
        let value = HeaderValue::from_maybe_shared(value.into_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Says in the headers that an answer is a replay, and how old it is.
pub(crate) fn mark(headers: &mut HeaderMap, age: Duration) {
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    headers.insert(AGE, age.as_secs().into());
}

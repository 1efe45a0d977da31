//! Answers as they are recorded, and replayed.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::response::{Parts, Response};
use serde::{Deserialize, Serialize};

use crate::body::{Body, with_trailers};
use crate::headers::{AGE, REPLAYED, TRUNCATED};
use crate::recorded::{self, Headers};

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
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers,
    /// Where gRPC has its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trailers: Option<Box<Headers>>,
    /// `None` if the body was not kept.
    #[serde(with = "recorded::body")]
    body: Option<Bytes>,
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

    fn new(status: StatusCode, content_type: &'static str, body: String) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        Self {
            status: status.as_u16(),
            headers: Headers(HeaderMap::from_iter([(CONTENT_TYPE, content_type)])),
            trailers: None,
            body: Some(body.into()),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &HeaderName, value: &HeaderValue) -> Self {
        self.headers.0.append(name, value.clone());
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
        body: Option<Bytes>,
    ) -> Self {
        let trailers = trailers.map(|trailers| only(trailers, kept));
        Self {
            status: answer.status.as_u16(),
            headers: only(&answer.headers, kept),
            trailers: trailers.filter(|it| !it.is_empty()).map(Box::new),
            body,
        }
    }

    /// Whether the body was kept.
    pub(crate) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Returns the answer as a response. One whose body was not kept says so.
    pub fn into_response(self) -> Response<Body> {
        let (status, was_kept) = (self.status(), self.has_body());
        let trailers = self.trailers.map(|trailers| trailers.0);
        let mut response = Response::new(with_trailers(self.body.unwrap_or_default(), trailers));
        *response.status_mut() = status;
        *response.headers_mut() = self.headers.0;
        if !was_kept {
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert(TRUNCATED, yes);
        }
        response
    }
}

fn only(headers: &HeaderMap, kept: &[HeaderName]) -> Headers {
    let kept = headers.iter().filter(|(name, _)| kept.contains(name));
    let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
    Headers(kept.collect())
}

/// Says in the headers that an answer is a replay, and how old it is.
pub(crate) fn mark(headers: &mut HeaderMap, age: Duration) {
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    headers.insert(AGE, age.as_secs().into());
}

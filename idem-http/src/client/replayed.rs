//! What an answer says of itself.

use std::time::Duration;

use http::HeaderMap;

use crate::headers::{AGE, REPLAYED, TRUNCATED};

/// What a replayed answer says of itself: it is the recorded answer of an earlier request with the
/// key, and nothing ran for this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// How long ago the answer was recorded, in whole seconds, where it is known.
    pub age: Option<Duration>,
    /// Whether the answer's body was too large to be recorded, or a stream, and is not here.
    pub is_truncated: bool,
}

impl Replayed {
    /// Reads an answer's headers, or the metadata of a gRPC answer. Returns `None` if the answer is
    /// this request's own.
    ///
    /// ```
    /// use std::time::Duration;
    /// use idem_http::client::Replayed;
    ///
    /// let mut headers = http::HeaderMap::new();
    /// assert_eq!(Replayed::from_headers(&headers), None);
    /// headers.insert("idempotency-replayed", "true".parse()?);
    /// headers.insert("idempotency-age", "75".parse()?);
    /// let replayed = Replayed::from_headers(&headers).unwrap();
    /// assert_eq!(replayed.age, Some(Duration::from_secs(75)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let is_true = |name| headers.get(name).is_some_and(|value| value == "true");
        let age = headers.get(AGE).and_then(|value| value.to_str().ok());
        is_true(REPLAYED).then(|| Self {
            age: age.and_then(|age| Some(Duration::from_secs(age.parse().ok()?))),
            is_truncated: is_true(TRUNCATED),
        })
    }
}

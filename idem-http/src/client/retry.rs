//! When a request is sent again, and after how long.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::time::Sleep;
use tower::retry::Policy;

use super::Replayed;
use crate::headers::KEY;

/// Sends a request again, under the same key, as often as it may help.
///
/// | what came | what happens |
/// |---|---|
/// | no answer: the connection failed, or broke | again, after a pause |
/// | 409 with `Retry-After`: the same request is in flight | again after it |
/// | 408, 425, 429, 500, 502, 503, 504 | again after `Retry-After`, else after a pause |
/// | a [replay](Replayed) | it is the answer, whatever its status |
/// | 422: the key belongs to another request; any other answer | it is the answer |
///
/// Only requests that may be repeated are: those with an idempotency key, and methods that are
/// idempotent by themselves ([RFC 9110, section 9.2.2]).
///
/// It is a policy of tower's `Retry`, and a middleware of `reqwest-middleware` with the feature of
/// that name. It is cloned for each request.
///
/// [RFC 9110, section 9.2.2]: https://www.rfc-editor.org/rfc/rfc9110#name-idempotent-methods
#[derive(Debug, Clone)]
#[must_use]
pub struct Retries {
    /// How many are left.
    left: u32,
    /// The next pause, where the answer does not say one.
    pause: Duration,
    longest_pause: Duration,
    longest_wait: Duration,
}

/// In the extensions of a request without a key that may be repeated all the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeatable;

impl Retries {
    /// Returns a policy of 3 retries, with pauses that double from 200 ms to 10 s, each of them
    /// random between half and all of it.
    pub fn new() -> Self {
        Self {
            left: 3,
            pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            longest_wait: Duration::from_secs(60),
        }
    }

    /// Sets how many retries follow the first try. Default: 3.
    pub fn retries(mut self, retries: u32) -> Self {
        self.left = retries;
        self
    }

    /// Sets the first pause and the longest one. Default: 200 ms and 10 s.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.pause, self.longest_pause) = (first.min(longest), longest);
        self
    }

    /// Sets the longest `Retry-After` that is waited for; with a longer one, the answer is returned.
    /// Default: a minute.
    pub fn longest_wait(mut self, longest: Duration) -> Self {
        self.longest_wait = longest;
        self
    }

    /// Returns how long to wait before the next try, or `None` if there is none. `answer` is `None`
    /// where the connection failed.
    pub(super) fn next(
        &mut self,
        may_repeat: bool,
        answer: Option<(StatusCode, &HeaderMap)>,
    ) -> Option<Duration> {
        let said = match answer {
            None => None,
            Some((status, headers)) => {
                let said = retry_after(headers, SystemTime::now());
                if !is_worth_another(status, said) || Replayed::from_headers(headers).is_some() {
                    return None;
                }
                said
            }
        };
        if said > Some(self.longest_wait) || self.left == 0 {
            return None;
        }
        if !may_repeat {
            tracing::warn!(
                "a request without an idempotency key is not sent again: it may have been done. Put \
                 `IdempotencyKeys` outside of what sends requests again"
            );
            return None;
        }
        self.left -= 1;
        let pause = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = self.pause.saturating_mul(2).min(self.longest_pause);
        Some(said.unwrap_or(pause))
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::new()
    }
}

fn is_worth_another(status: StatusCode, said: Option<Duration>) -> bool {
    match status.as_u16() {
        // Without a time, it is a conflict that stays.
        409 => said.is_some(),
        408 | 425 | 429 | 500 | 502 | 503 | 504 => true,
        _ => false,
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// Returns whether a request may be sent a second time.
pub(super) fn may_repeat(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key(KEY)
}

impl<B: Clone, R, E> Policy<Request<B>, Response<R>, E> for Retries {
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request<B>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Sleep> {
        let may_repeat = may_repeat(request.method(), request.headers())
            || request.extensions().get::<Repeatable>().is_some();
        let answer = result.as_ref().ok();
        let answer = answer.map(|answer| (answer.status(), answer.headers()));
        self.next(may_repeat, answer).map(tokio::time::sleep)
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

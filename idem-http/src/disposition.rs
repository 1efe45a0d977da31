//! What an answer's status means for its key.

use http::StatusCode;

/// What an answer means for the key of its request.
///
/// A handler can say so itself: put one into the extensions of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The request is done: the answer is recorded, and duplicates get it.
    Record,
    /// The request was not taken: the next one with the key runs, with any content.
    Release,
    /// The attempt failed: the next request with the key runs again, until the budget is spent;
    /// then there is a dead letter, and duplicates get the last failure.
    Fail,
    /// What the handler needs is down. The next request with the key runs again, this one is not
    /// charged, and where many fail so the handler pauses: nothing runs, and requests are answered
    /// with 503 until it goes again.
    Outage,
}

impl Disposition {
    /// Returns the default: 5xx fail; 401, 403, 408, 413, 415, 425 and 429 release the key, as the
    /// same request may be taken later; all others are recorded.
    ///
    /// ```
    /// use http::StatusCode;
    /// use idem_http::Disposition;
    ///
    /// assert_eq!(Disposition::of(StatusCode::CREATED), Disposition::Record);
    /// assert_eq!(Disposition::of(StatusCode::UNPROCESSABLE_ENTITY), Disposition::Record);
    /// assert_eq!(Disposition::of(StatusCode::TOO_MANY_REQUESTS), Disposition::Release);
    /// assert_eq!(Disposition::of(StatusCode::BAD_GATEWAY), Disposition::Fail);
    /// ```
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 | 408 | 413 | 415 | 425 | 429 => Self::Release,
            500.. => Self::Fail,
            _ => Self::Record,
        }
    }
}

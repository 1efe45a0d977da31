//! Why an alert was not delivered.

use std::time::Duration;

use super::text;

/// The most characters of a text from a server.
const SHOWN: usize = 300;

/// An alert that was not delivered, or may not have been.
///
/// It contains no secret: no password, no token, no address with one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{channel}: {what}; {advice}")]
#[non_exhaustive]
pub struct AlertError {
    /// The channel's name.
    pub channel: String,
    /// What happened.
    pub what: String,
    /// Whether trying again may help.
    pub retry: Retry,
    /// What to do.
    pub advice: String,
}

impl AlertError {
    /// Creates an error of `channel`. Both texts are made one line and cut.
    pub fn new(
        channel: &str,
        what: impl AsRef<str>,
        retry: Retry,
        advice: impl AsRef<str>,
    ) -> Self {
        Self {
            channel: channel.to_owned(),
            what: text::one_line(what.as_ref(), SHOWN),
            retry,
            advice: text::one_line(advice.as_ref(), SHOWN),
        }
    }

    /// Returns whether the same alert may succeed later by itself.
    pub fn is_retryable(&self) -> bool {
        self.retry != Retry::Never
    }
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Only after a person changed something.
    Never,
    /// After a pause that the sender chooses.
    Later,
    /// After this pause at least, which the receiver asked for.
    After(Duration),
}

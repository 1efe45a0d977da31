//! Why an alert was not delivered.

use std::time::Duration;

use super::text;

/// The longest text of a server's answer that is shown, in characters.
const SHOWN: usize = 300;

/// An alert that was not delivered, or of which nobody can tell.
///
/// It says what happened, to which channel, whether trying again may help, and what to do. No
/// secret is in it: no password, no token, no address that holds one.
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
    /// What a person can do.
    pub advice: String,
}

impl AlertError {
    /// An error of `channel`. Texts that come from a server are made one line and cut.
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

    /// Whether the same alert may go through later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        self.retry != Retry::Never
    }
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Not before somebody changed something.
    Never,
    /// After a pause of the sender's choice.
    Later,
    /// Not before this time has passed: the receiver said so.
    After(Duration),
}

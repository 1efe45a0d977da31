//! Runs the user's code outside of the body: encodes and decodes a result, prints and judges an
//! error, copies the arguments. A panic there ends the attempt, and the call goes on.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use super::cut;
use super::machine::Drive;
use super::report::AttemptResult;
use crate::call::panic::caught;
use crate::json::problem::json_problem;
use crate::json::writing::{self, Unwritten, Writes};

/// Decodes a result, and keeps it where the caller wants it.
pub(super) type Reads<'a> = &'a mut dyn FnMut(&[u8]) -> serde_json::Result<()>;

impl Drive {
    /// Encodes the result as it is recorded, or returns why it cannot be. A doubtful result is decoded
    /// once to see that it reads back, and so is each handler's first result: a type that does not
    /// read what it writes mostly fails each time.
    pub(super) fn written(
        &mut self,
        write: Writes<'_>,
        read: Reads<'_>,
    ) -> Result<Vec<u8>, String> {
        let mut json = self.buffer();
        let mut written = Ok(false);
        caught(&mut || written = writing::write(&mut json, usize::MAX, 0, write))
            .map_err(|panic| format!("its `Serialize` panicked: {panic}"))?;
        let doubtful = written.map_err(|unwritten| match unwritten {
            Unwritten::TooLarge => "it is too large".to_owned(),
            Unwritten::Codec(problem) => problem,
        })?;
        let reads_back = &self.request.named.reads_back;
        if doubtful || !reads_back.load(Ordering::Relaxed) {
            read_with(&json, read).map_err(|unread| match unread {
                // Not serde's words, which quote what is in the result.
                ReadError::Unfit(problem) => format!(
                    "its type does not read what it wrote, from line {} column {} on; NaN, infinities, and integers of 128 bits \
                     or keys that are not strings in tagged, untagged and flattened types are such values",
                    problem.line(),
                    problem.column()
                ),
                unread @ ReadError::Panicked(_) => unread.to_string(),
            })?;
            reads_back.store(true, Ordering::Relaxed);
        }
        Ok(json)
    }

    /// Asks `retry_if` whether the error is permanent.
    pub(super) fn is_permanent(&self, retry_if: &mut dyn FnMut() -> bool) -> bool {
        !self.judged(
            true,
            retry_if,
            "`retry_if` panicked; the error is tried again",
        )
    }

    /// Asks `outage` whether the error is one.
    pub(super) fn is_outage(&self, outage: &mut dyn FnMut() -> bool) -> bool {
        self.judged(false, outage, "`outage` panicked; the error is none")
    }

    fn judged(&self, mut judged: bool, judge: &mut dyn FnMut() -> bool, panicked: &str) -> bool {
        let otherwise = judged;
        if let Err(panic) = caught(&mut || judged = judge()) {
            let id = self.id();
            tracing::error!(handler = &*id.handler, key = &*id.key, panic, "{panicked}");
            return otherwise;
        }
        judged
    }

    /// Asks `release_if` whether the error releases the key.
    pub(super) fn is_released(&self, release_if: &mut dyn FnMut() -> bool) -> bool {
        self.judged(
            false,
            release_if,
            "`release_if` panicked; the attempt counts as failed",
        )
    }

    /// Copies the arguments for an attempt. A panic there counts as the attempt's.
    pub(super) fn copies(&mut self, copy: &mut dyn FnMut()) {
        if let Err(panic) = caught(copy) {
            self.report(AttemptResult::Panicked(format!(
                "copying the arguments: {panic}"
            )));
        }
    }
}

/// Why a recorded result was not decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{}", json_problem(.0))]
    Unfit(serde_json::Error),
    #[error("its `Deserialize` panicked: {0}")]
    Panicked(String),
}

/// Decodes a recorded result.
pub(super) fn read_with(json: &[u8], read: Reads<'_>) -> Result<(), ReadError> {
    let mut outcome = Ok(());
    caught(&mut || outcome = read(json)).map_err(ReadError::Panicked)?;
    outcome.map_err(ReadError::Unfit)
}

/// Returns an error's text with its causes: the alternate form, as `anyhow` prints it.
pub(super) fn text_of(error: &dyn Display) -> String {
    let (mut text, mut printed) = (String::new(), Ok(()));
    match caught(&mut || printed = write!(text, "{error:#}")) {
        Ok(()) if printed.is_ok() => cut(text),
        Ok(()) => "an error that cannot be printed".to_owned(),
        Err(panic) => format!("an error that cannot be printed: its `Display` panicked: {panic}"),
    }
}

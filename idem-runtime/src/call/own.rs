//! What a call runs of the user's code outside of an attempt: a result is written and read, an
//! error is shown and judged, arguments are copied. Where it panics, the attempt has ended, and the
//! call goes on.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use super::cut;
use super::machine::Drive;
use super::report::AttemptResult;
use crate::call::panic::caught;
use crate::json::problem::json_problem;
use crate::json::writing::{self, Unwritten, Writes};

/// Reads a result, and keeps it where it is wanted.
pub(super) type Reads<'a> = &'a mut dyn FnMut(&[u8]) -> serde_json::Result<()>;

impl Drive {
    /// The result as it is recorded, or why it cannot be. What may not read back is read once, and
    /// so is each handler's first result: what its types write and do not read is mostly the same
    /// each time.
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
                    "its type does not read what it wrote, from line {} column {} on; so it is with NaN and infinities, and \
                     in tagged, untagged and flattened types with integers of 128 bits and keys that are no strings",
                    problem.line(),
                    problem.column()
                ),
                unread @ ReadError::Panicked(_) => unread.to_string(),
            })?;
            reads_back.store(true, Ordering::Relaxed);
        }
        Ok(json)
    }

    /// Whether `retry_if` says that the error is permanent.
    pub(super) fn is_permanent(&self, retry_if: &mut dyn FnMut() -> bool) -> bool {
        let mut retry = true;
        if let Err(panic) = caught(&mut || retry = retry_if()) {
            let id = self.id();
            tracing::error!(
                handler = &*id.handler,
                key = &*id.key,
                panic,
                "`retry_if` panicked; the error is tried again"
            );
        }
        !retry
    }

    /// Copies the arguments for an attempt; where that panics, the attempt did.
    pub(super) fn copies(&mut self, copy: &mut dyn FnMut()) {
        if let Err(panic) = caught(copy) {
            self.report(AttemptResult::Panicked(format!(
                "copying the arguments: {panic}"
            )));
        }
    }
}

/// Why a recorded result was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{}", json_problem(.0))]
    Unfit(serde_json::Error),
    #[error("its `Deserialize` panicked: {0}")]
    Panicked(String),
}

/// Reads a recorded result.
pub(super) fn read_with(json: &[u8], read: Reads<'_>) -> Result<(), ReadError> {
    let mut outcome = Ok(());
    caught(&mut || outcome = read(json)).map_err(ReadError::Panicked)?;
    outcome.map_err(ReadError::Unfit)
}

/// An error with its causes, as `anyhow` and others print them in the alternate form.
pub(super) fn text_of(error: &dyn Display) -> String {
    let (mut text, mut printed) = (String::new(), Ok(()));
    match caught(&mut || printed = write!(text, "{error:#}")) {
        Ok(()) if printed.is_ok() => cut(text),
        Ok(()) => "an error that cannot be printed".to_owned(),
        Err(panic) => format!("an error that cannot be printed: its `Display` panicked: {panic}"),
    }
}

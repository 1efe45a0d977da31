//! Errors of closing an Idem.

use std::time::Duration;

use super::text::with_cause;
use crate::ledger::LedgerError;
use crate::protocol::RecordId;

/// Why [`Idem::close`](crate::Idem::close) did not end in order. The Idem is closed all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Calls were still running when `close` reached its deadline.
    #[error(
        "closed after {waited:?} with calls still running ({running}). Each counts as an attempt \
         that crashed, and goes on when its message comes again"
    )]
    StillRunning {
        /// How many.
        running: usize,
        /// How long `close` waited.
        waited: Duration,
    },

    /// Ends of attempts could not be recorded until the ledger was closed.
    #[error(
        "closed, and the ledger did not take how {} ended: {}. With the next opening each is an \
         attempt that crashed, and its body runs again when its message comes, unless `existing` \
         finds what it did",
        count(messages.len()), listed(messages)
    )]
    Unrecorded {
        /// Their messages.
        messages: Vec<RecordId>,
    },

    /// The ledger could not be closed.
    #[error(fmt = not_closed)]
    Ledger {
        /// The cause.
        #[from]
        source: LedgerError,
    },
}

fn not_closed(source: &LedgerError, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    with_cause(f, "the ledger could not be closed", Some(source))
}

/// How many messages an error's text names.
const NAMED: usize = 10;

fn count(messages: usize) -> String {
    if messages == 1 {
        "an attempt".to_owned()
    } else {
        format!("{messages} attempts")
    }
}

fn listed(messages: &[RecordId]) -> String {
    let mut text: Vec<_> = messages
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    if messages.len() > NAMED {
        text.push(format!("and {} more", messages.len() - NAMED));
    }
    text.join("; ")
}

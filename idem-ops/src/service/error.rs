//! The errors of queries and actions.

use idem_runtime::DeadLetterId;
use idem_runtime::dead_letters::{EraseError, LetterError};
use idem_runtime::ledger::LedgerError;
use uuid::Uuid;

/// Why a query or an action failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The letter does not exist.
    #[error("dead letter {0} does not exist: closed letters are kept for a limited time")]
    NoSuchLetter(DeadLetterId),
    /// The bulk job does not exist.
    #[error("bulk job {0} does not exist: only the last 200 that have ended are kept")]
    NoSuchBulk(Uuid),
    /// The redrive rule does not exist.
    #[error("redrive rule `{0}` does not exist")]
    NoSuchRule(String),
    /// No handler of this name is known.
    #[error(
        "no handler `{handler}` is known to this ledger. {} To pause it all the same, give `--force` \
         (`force` in the API)",
        known(.nearest)
    )]
    NoSuchHandler {
        /// The name.
        handler: String,
        /// The names that the ledger knows, the nearest first: five at most.
        nearest: Vec<String>,
    },
    /// A parameter is invalid.
    #[error("`{field}` {why}")]
    Invalid {
        /// The field or parameter.
        field: &'static str,
        /// The problem, and what is valid.
        why: String,
    },
    /// The letter cannot be run here as it is.
    #[error("dead letter {id} cannot be run: {why}")]
    CannotRun {
        /// The letter.
        id: DeadLetterId,
        /// The cause, and what to do.
        why: String,
    },
    /// The letter's message cannot be published from here as it is.
    #[error("dead letter {id} cannot be published: {why}")]
    CannotPublish {
        /// The letter.
        id: DeadLetterId,
        /// The cause, and what to do.
        why: String,
    },
    /// The service has no folder for copies of its ledger.
    #[error(
        "this service has no folder for backups: give it one with `Service::backups_in`, and the \
         service to `idem_ops::dashboard`"
    )]
    NoBackups,
    /// The handler is not paused.
    #[error("`{handler}` is not paused")]
    NotPaused {
        /// The handler.
        handler: String,
    },
    /// The bulk job has ended.
    #[error("bulk job {0} has ended already")]
    BulkEnded(Uuid),
    /// A note of this service cannot be read.
    #[error(
        "the note `{key}` cannot be read ({problem}): was it written by a newer version of idem?"
    )]
    Note {
        /// The note's key.
        key: String,
        /// The problem.
        problem: String,
    },
    /// The action on the letter failed.
    #[error(transparent)]
    Letter(#[from] LetterError),
    /// The message was not erased.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// The ledger cannot do its work.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn known(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return "Nor is any other: a service notes those that it calls, half a minute after its start.".to_owned();
    }
    format!("Did you mean `{}`?", nearest.join("`, `"))
}

impl ServiceError {
    /// Whether the ledger was closed: the service stops.
    pub(super) fn is_closed(&self) -> bool {
        matches!(
            self,
            Self::Ledger(LedgerError::Closed)
                | Self::Letter(LetterError::Ledger {
                    source: LedgerError::Closed
                })
                | Self::Erase(EraseError::Ledger {
                    source: LedgerError::Closed
                })
        )
    }
}

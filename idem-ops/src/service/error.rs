//! What is refused, and why.

use idem_runtime::{DeadLetterId, Error};
use uuid::Uuid;

/// Why something could not be read or done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// There is no such letter.
    #[error("there is no dead letter {0}: closed letters are kept for a limited time")]
    NoSuchLetter(DeadLetterId),
    /// There is no such bulk job.
    #[error("there is no bulk job {0}: list them")]
    NoSuchBulk(Uuid),
    /// What was asked for makes no sense.
    #[error("`{field}` {why}")]
    Invalid {
        /// The field or parameter.
        field: &'static str,
        /// What is wrong with it, and what it may be.
        why: String,
    },
    /// The letter cannot be run from here as it stands.
    #[error("dead letter {id} cannot be run: {why}")]
    CannotRun {
        /// The letter.
        id: DeadLetterId,
        /// Why, and what to do.
        why: String,
    },
    /// The letter's message cannot be published from here as it stands.
    #[error("dead letter {id} cannot be published: {why}")]
    CannotPublish {
        /// The letter.
        id: DeadLetterId,
        /// Why, and what to do.
        why: String,
    },
    /// The bulk job has ended already.
    #[error("bulk job {0} has ended already")]
    BulkEnded(Uuid),
    /// A note of this service cannot be read.
    #[error(
        "the note `{key}` cannot be read ({problem}): was it written by a newer version of idem?"
    )]
    Note {
        /// The note's key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The runtime refused it.
    #[error(transparent)]
    Idem(#[from] Error),
}

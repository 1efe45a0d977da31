//! Errors of acts on dead letters.

use std::fmt;

use crate::error::with_cause;
use crate::ledger::LedgerError;
use crate::protocol::{DeadLetterId, LetterState};

/// Why an act on a dead letter failed. The letter stays as it was.
///
/// The alternate form of its text, `{:#}`, adds the cause, as that of `anyhow::Error` does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LetterError {
    /// The letter does not exist.
    #[error("there is no dead letter {id}: closed letters are kept for a limited time")]
    NoSuchLetter {
        /// The id asked for.
        id: DeadLetterId,
    },

    /// The letter is closed, and the act needs an open one.
    #[error(
        "dead letter {id} {}, and this act needs an open letter. List the letters of its key",
        match state {
            LetterState::Open => "was acted on meanwhile",
            LetterState::Redriven => "is redriven",
            LetterState::Discarded => "is discarded",
        }
    )]
    LetterClosed {
        /// The letter.
        id: DeadLetterId,
        /// Its state.
        state: LetterState,
    },

    /// The letter cannot be opened again.
    #[error("dead letter {id} cannot be restored: {}. List the letters of its key", match state {
        LetterState::Open => "it is open",
        LetterState::Redriven => "it was redriven, and its message has come, its time is over, or it was erased",
        LetterState::Discarded => "it was discarded, and its time is over, or it was erased",
    })]
    NotRestorable {
        /// The letter.
        id: DeadLetterId,
        /// Its state.
        state: LetterState,
    },

    /// The service has not registered the letter's handler, and runs no consumer that calls it, so
    /// the letter cannot be run.
    #[error(
        "handler `{handler}` is not registered in this service, and no consumer of the letter's source \
         that runs here calls it, so its dead letters cannot be run from here. Start its consumer, \
         register it with `idem.register_handler(\"{handler}\", …)`, or redrive the letter and \
         publish the message again"
    )]
    NoHandler {
        /// The handler's name.
        handler: String,
    },

    /// Parts of the letter's payload were never stored, so it cannot be run or published.
    #[error(
        "dead letter {id} is not whole: its handler redacts {}, which was never stored. Run it \
         with these parts filled in",
        missing.join(", ")
    )]
    Redacted {
        /// The letter.
        id: DeadLetterId,
        /// The redacted paths that have no value.
        missing: Vec<String>,
    },

    /// The redacted parts of the letter's payload cannot be opened, so it cannot be run or
    /// published.
    #[error(
        "the redacted parts of dead letter {id} of handler `{handler}`, key `{key}`, are sealed with seal key \
         `{seal_key}`, which {}. Or run the letter with these parts filled in",
        match known {
            true => "does not open them: it is another key of this id, or what is stored was changed. Give the key that \
                     sealed them to `Idem::builder().seal(…)`",
            false => "this service does not have. Give it to `Idem::builder().seal(…)`, as an older key if there is a newer \
                      one",
        }
    )]
    Sealed {
        /// The letter.
        id: DeadLetterId,
        /// Its handler's name.
        handler: String,
        /// Its idempotency key.
        key: String,
        /// The id of the key that they are sealed with.
        seal_key: String,
        /// Whether this Idem has a key of this id.
        known: bool,
    },

    /// The letter holds only the beginning of its message, so it cannot be run or published.
    #[error(
        "dead letter {id} holds only the beginning of its message, which has {size} bytes. Edit it \
         so that it is whole, or publish the message from where it came from"
    )]
    Incomplete {
        /// The letter.
        id: DeadLetterId,
        /// The message's size in bytes.
        size: u64,
    },

    /// The payload does not fit the handler's arguments, or is nested too deep; nothing ran.
    #[error(
        "the payload of dead letter {id} does not fit handler `{handler}`: {problem}. Edit the \
         payload; nothing ran"
    )]
    PayloadUnfit {
        /// The letter.
        id: DeadLetterId,
        /// The handler's name.
        handler: String,
        /// What is wrong with it, in words that hold [none of its values](crate::json::json_problem).
        problem: String,
    },

    /// The service has no publisher for the letter's place, by a registration or a consumer, or no
    /// broker brought the message.
    #[error("dead letter {id} cannot be published from here{}", match place {
        Some(place) => format!(". Start its consumer, or register a publisher with `idem.register_publisher(\"{place}\", …)`"),
        None => ": no broker brought it. Run it, or redrive it and call its handler".to_owned(),
    })]
    NoPublisher {
        /// The letter.
        id: DeadLetterId,
        /// Where it came from: broker and source, as in `rabbitmq:orders`.
        place: Option<String>,
    },

    /// The broker did not take the message. The letter is open, as it was.
    #[error("dead letter {id} could not be published to {place}, and stays open: {problem}")]
    NotPublished {
        /// The letter.
        id: DeadLetterId,
        /// Where to: broker and source, as in `rabbitmq:orders`.
        place: String,
        /// The publisher's error.
        problem: String,
    },

    /// The ledger cannot do its work.
    #[error(fmt = ledger_failed)]
    Ledger {
        /// The cause.
        #[from]
        source: LedgerError,
    },
}

pub(super) fn ledger_failed(source: &LedgerError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    with_cause(f, "the ledger failed", Some(source))
}

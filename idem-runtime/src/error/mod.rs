//! What idem refuses, and why: each error says what happened, to which handler and key, and what to
//! do.

mod kind;

use std::time::Duration;

use crate::ledger::LedgerError;
use crate::protocol::{DeadLetterId, LetterState, RecordId};

/// What idem itself can refuse a call with.
///
/// A handler's own error type takes it through `From<idem_runtime::Error>`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no [`Idem`](crate::Idem) for this call.
    #[error(
        "handler `{handler}` was called, but no Idem is installed: call `idem.install()` at start-up, run it inside \
         `idem.scope(…)`, or name one with `runtime = …`"
    )]
    NotInstalled {
        /// The handler's name.
        handler: String,
    },

    /// The process has its default [`Idem`](crate::Idem) already.
    #[error(
        "an Idem is installed in this process already, and there is one default: use `idem.scope(…)` or \
         `runtime = …` for a second one"
    )]
    AlreadyInstalled,

    /// Two different functions have the same handler name, so their records would mix.
    #[error(
        "two handlers are named `{handler}`: the one at {first} and the one at {second}; give one of them another \
         name with `name = \"…\"`"
    )]
    NameTaken {
        /// The name.
        handler: String,
        /// `file:line` of the one that has it.
        first: String,
        /// `file:line` of the one that was called.
        second: String,
    },

    /// The same message is running right now, and this call does not wait for it.
    #[error(
        "handler `{handler}`, key `{key}`: the same message is running right now; give it back to the queue, or call \
         again later (a body that calls its own message will never get further)"
    )]
    InProgress {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// The message came back before its pause had passed; nothing ran.
    #[error(
        "handler `{handler}`, key `{key}`: not before {after:?} have passed; redeliver it then"
    )]
    NotYet {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// How long to wait.
        after: Duration,
    },

    /// The body panicked in this attempt; the broker is to bring the message again.
    #[error("handler `{handler}`, key `{key}`: attempt {attempt} panicked: {message}")]
    Panicked {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// The attempt's number, from 1.
        attempt: u32,
        /// The panic's message.
        message: String,
    },

    /// The body did not return in time; the broker is to bring the message again.
    #[error("handler `{handler}`, key `{key}`: attempt {attempt} did not return within {limit:?}")]
    TimedOut {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// The attempt's number, from 1.
        attempt: u32,
        /// The handler's `timeout`.
        limit: Duration,
    },

    /// The key belongs to a message with another content.
    #[error(
        "handler `{handler}`, key `{key}`: the key was used before with another content, and nothing ran; send new \
         content under a new key, or leave what may differ out of `fingerprint(…)`"
    )]
    KeyReused {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// A message was put into the outbox from outside a handler's body.
    #[error(
        "`outbox().enqueue(…)` was called where no handler's body runs (a task that the body spawned is outside), so there \
         is no result to go with: call `outbox().send(…).await` there"
    )]
    OutsideHandler,

    /// A message for the outbox is larger than a payload may be.
    #[error(
        "a message for `{destination}` has {size} bytes, and the limit is {limit}: send a reference, or raise \
         `payload_limit`"
    )]
    OutgoingTooLarge {
        /// Where it was to go.
        destination: String,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },

    /// The key has to be issued, and was not, or has lapsed; nothing ran.
    #[error(
        "handler `{handler}`, key `{key}`: issuer `{issuer}` has not issued this key, or it has lapsed, and nothing ran: ask \
         for a new one with `idem.issuer(\"{issuer}\").issue()`"
    )]
    NotIssued {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// Who issues its keys.
        issuer: &'static str,
    },

    /// The message is dead and does not run until a person redrives it.
    #[error(
        "handler `{handler}`, key `{key}`: {}", if *discarded {
            format!("a person discarded it (dead letter {id}), so it does not run; send it under a new key if it should")
        } else {
            format!("it is dead letter {id} and does not run again by itself; look at the letter, then redrive or discard it")
        }
    )]
    #[non_exhaustive]
    DeadLettered {
        /// The letter.
        id: DeadLetterId,
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// A person closed the letter without another run.
        discarded: bool,
    },

    /// The claim passed to somebody else while the body ran; its outcome was not recorded.
    #[error(
        "handler `{handler}`, key `{key}`: the claim passed to another attempt while the body ran, and this outcome \
         was not recorded; make `lease` longer than the body can stall"
    )]
    LeaseLost {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// The key is empty, has an empty part, is longer than 1 KiB, or could not be read: its
    /// expression panicked.
    #[error(
        "handler `{handler}`: the idempotency key {why}; nothing ran: give every message a key of its own"
    )]
    InvalidKey {
        /// The handler's name.
        handler: String,
        /// What is wrong with it.
        why: String,
    },

    /// The arguments are larger than may be stored; nothing ran.
    #[error(
        "handler `{handler}`, key `{key}`: the payload is over the limit of {limit} bytes, and nothing ran; pass a \
         reference in place of the content, `skip(…)` what is context, or raise `payload_limit`"
    )]
    PayloadTooLarge {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// The limit in bytes.
        limit: usize,
    },

    /// The message is done, but its result was too large to keep for duplicates.
    #[error(
        "handler `{handler}`, key `{key}`: done before, with a result of {size} bytes that was too large to keep; \
         look it up where the handler put it, or raise `result_limit`"
    )]
    ResultTooLarge {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// The result's size in bytes.
        size: u64,
    },

    /// An argument or a result cannot be turned into JSON or back, or is nested more than 100
    /// levels deep.
    #[error("handler `{handler}`, key `{key}`: {what} {problem}")]
    Codec {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// What could not be turned, and what became of the message.
        what: String,
        /// What is wrong with it, in words that hold [none of its values](crate::json::problem).
        problem: String,
    },

    /// The ledger cannot do its work; without a durable claim no body runs.
    #[error("{}{problem}", site(handler.as_deref(), key.as_deref()))]
    Ledger {
        /// The handler's name, where a call was concerned.
        handler: Option<String>,
        /// The idempotency key, where a call was concerned.
        key: Option<String>,
        /// What is wrong with it. The message holds its text already, so it is no `source()`.
        problem: LedgerError,
    },

    /// This [`Idem`](crate::Idem) was closed.
    #[error("{}this Idem was closed, and nothing ran: open it again, or stop taking messages before `close()`",
        site(handler.as_deref(), key.as_deref()))]
    Closed {
        /// The handler's name, where a call was concerned.
        handler: Option<String>,
        /// The idempotency key, where a call was concerned.
        key: Option<String>,
    },

    /// Calls were still running when `close` reached its deadline.
    #[error(
        "closed after {waited:?} with calls still running ({running}); each counts as an attempt that crashed, and goes \
         on when its message comes again"
    )]
    StillRunning {
        /// How many.
        running: usize,
        /// How long `close` waited.
        waited: Duration,
    },

    /// Ends of attempts could not be recorded until the ledger was closed.
    #[error(
        "closed, and the ledger did not take how {} ended ({}): with the next opening each is an attempt that crashed, and \
         its body runs again when its message comes, unless `existing` finds what it did",
        count(messages.len()), listed(messages)
    )]
    Unrecorded {
        /// Whose.
        messages: Vec<RecordId>,
    },

    /// There is no such dead letter.
    #[error("there is no dead letter {id}: closed letters are kept for a limited time")]
    NoSuchLetter {
        /// The id asked for.
        id: DeadLetterId,
    },

    /// A dead letter was to run, and the service has not said how its handler is called again.
    #[error(
        "handler `{handler}` is not registered in this service, so its dead letters cannot be run from here: register it \
         with `idem.register_handler(\"{handler}\", …)`, or redrive the letter and publish the message again"
    )]
    NoHandler {
        /// The handler's name.
        handler: String,
    },

    /// A dead letter was to run, and parts of its payload were never stored.
    #[error(
        "dead letter {id} is not whole: its handler redacts {}, which was never stored; run it with these parts filled in",
        missing.join(", ")
    )]
    Redacted {
        /// The letter.
        id: DeadLetterId,
        /// The redacted paths that have no value.
        missing: Vec<String>,
    },

    /// A dead letter was to be published, and the service has not said how, or it did not come from
    /// a broker.
    #[error(
        "dead letter {id} cannot be published from here: {}", match place {
            Some(place) => format!("say how with `idem.register_publisher(\"{place}\", …)`"),
            None => "no broker brought it; run it, or redrive it and call its handler".to_owned(),
        }
    )]
    NoPublisher {
        /// The letter.
        id: DeadLetterId,
        /// Where it came from: broker and source, as in `rabbitmq:orders`.
        place: Option<String>,
    },

    /// A dead letter was to be published, and the broker did not take it: the letter is open, as it
    /// was.
    #[error("dead letter {id} could not be published to {place}, and stays open: {problem}")]
    NotPublished {
        /// The letter.
        id: DeadLetterId,
        /// Where to: broker and source, as in `rabbitmq:orders`.
        place: String,
        /// What the publisher said.
        problem: String,
    },

    /// A dead letter was to be run or published, and it holds only the beginning of its message.
    #[error(
        "dead letter {id} holds only the beginning of its message, which has {size} bytes: edit it so that it is whole, \
         or publish the message from where it came from"
    )]
    Incomplete {
        /// The letter.
        id: DeadLetterId,
        /// The message's size in bytes.
        size: u64,
    },

    /// A dead letter was run with the payload of another message.
    #[error(
        "handler `{handler}`: the payload has the key `{key}`, and the dead letter is of `{letter_key}`; nothing ran: \
         edit the payload so that it is the same message"
    )]
    KeyMismatch {
        /// The handler's name.
        handler: String,
        /// The payload's idempotency key.
        key: String,
        /// The letter's.
        letter_key: String,
    },

    /// The dead letter is closed already, or cannot be opened again.
    #[error("dead letter {id} cannot be changed so: it is {}; list the letters of its key", match state {
        LetterState::Open => "open",
        LetterState::Redriven => "redriven",
        _ => "discarded",
    })]
    LetterClosed {
        /// The letter.
        id: DeadLetterId,
        /// Its state.
        state: LetterState,
    },
}

impl Error {
    /// The handler's name, where there is one.
    pub(crate) fn handler(&self) -> Option<&str> {
        match self {
            Error::InvalidKey { handler, .. }
            | Error::KeyReused { handler, .. }
            | Error::NotIssued { handler, .. }
            | Error::PayloadTooLarge { handler, .. }
            | Error::Codec { handler, .. } => Some(handler),
            _ => None,
        }
    }

    /// The idempotency key, where there is one.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Error::InProgress { key, .. }
            | Error::NotYet { key, .. }
            | Error::Panicked { key, .. }
            | Error::TimedOut { key, .. }
            | Error::KeyReused { key, .. }
            | Error::DeadLettered { key, .. }
            | Error::LeaseLost { key, .. }
            | Error::PayloadTooLarge { key, .. }
            | Error::ResultTooLarge { key, .. }
            | Error::NotIssued { key, .. }
            | Error::KeyMismatch { key, .. }
            | Error::Codec { key, .. } => Some(key),
            Error::Ledger { key, .. } | Error::Closed { key, .. } => key.as_deref(),
            _ => None,
        }
    }
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

fn site(handler: Option<&str>, key: Option<&str>) -> String {
    match (handler, key) {
        (Some(handler), Some(key)) => format!("handler `{handler}`, key `{key}`: "),
        (Some(handler), None) => format!("handler `{handler}`: "),
        _ => String::new(),
    }
}

impl From<LedgerError> for Error {
    fn from(problem: LedgerError) -> Self {
        Error::Ledger {
            handler: None,
            key: None,
            problem,
        }
    }
}

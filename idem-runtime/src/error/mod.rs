//! Errors of calls, and of opening and closing an Idem. The acts on dead letters have
//! [their own](crate::dead_letters::LetterError); what only reads the ledger returns its
//! [`LedgerError`].

mod close;
mod codec;
mod kind;
mod text;

use std::time::Duration;

pub use close::CloseError;
pub use codec::CodecStage;
pub use kind::ErrorKind;
use text::{dead_lettered, ledger_failed};
pub(crate) use text::{site, with_cause};

use crate::ledger::LedgerError;
use crate::protocol::DeadLetterId;

/// An error of idem's own that a call of a handler returns in place of the body's result.
///
/// A handler's error type takes it through `From<idem_runtime::Error>`, so what a body calls on
/// idem, as [`Outbox::enqueue`](crate::outbox::Outbox::enqueue), returns it too.
///
/// Its text names the handler and the key, and never shows a payload's value. The alternate form,
/// `{:#}`, adds the cause, as that of `anyhow::Error` does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call belongs to no [`Idem`](crate::Idem).
    #[error(
        "handler `{handler}` was called, but no Idem is installed. Call `idem.install()` at \
         start-up, run the call inside `idem.scope(…)`, or name an Idem with `runtime = …`"
    )]
    NotInstalled {
        /// The handler's name.
        handler: String,
    },

    /// The process has its default [`Idem`](crate::Idem) already.
    #[error(
        "an Idem is installed in this process already, and there is one default. Use \
         `idem.scope(…)` or `runtime = …` for a second one"
    )]
    AlreadyInstalled,

    /// Two functions have the same handler name, so their records would mix.
    #[error(
        "two handlers are named `{handler}`: the one at {first} and the one at {second}. Give one \
         of them another name with `name = \"…\"`"
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
        "handler `{handler}`, key `{key}`: the same message is running right now. Give it back to \
         the queue, or call again later (a body that calls its own message never gets further)"
    )]
    InProgress {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// The message came back before its pause had passed; nothing ran.
    #[error(
        "handler `{handler}`, key `{key}`: the retry is not due for another {after:?}. Redeliver \
         the message then"
    )]
    NotYet {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// How long to wait.
        after: Duration,
    },

    /// The handler is paused, and this call was turned away; nothing ran, and nothing was recorded.
    #[error(
        "handler `{handler}`, key `{key}`: the handler is paused, and nothing ran: {why}. Bring the \
         message again in {retry_after:?}"
    )]
    Paused {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// How long to wait.
        retry_after: Duration,
        /// Why it is paused.
        why: String,
    },

    /// The body panicked in this attempt; the broker has to redeliver the message.
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

    /// The body did not return in time; the broker has to redeliver the message.
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

    /// The key belongs to a message with another content; nothing ran.
    #[error(
        "handler `{handler}`, key `{key}`: the key was used before with another content, and \
         nothing ran. Send new content under a new key, or leave what may differ out of \
         `fingerprint(…)`"
    )]
    KeyReused {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// A dead letter was run with the payload of another message; nothing ran.
    #[error(
        "handler `{handler}`: the payload has the key `{key}`, but its dead letter has \
         `{letter_key}`, and nothing ran. Edit the payload so that it is the same message"
    )]
    KeyMismatch {
        /// The handler's name.
        handler: String,
        /// The payload's idempotency key.
        key: String,
        /// The letter's.
        letter_key: String,
    },

    /// The key has to be issued, and was not, or has expired; nothing ran.
    #[error(
        "handler `{handler}`, key `{key}`: issuer `{issuer}` has not issued this key, or it has \
         expired, and nothing ran. Ask for a new one with `idem.issuer(\"{issuer}\").issue()`"
    )]
    NotIssued {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// The issuer of the handler's keys.
        issuer: &'static str,
    },

    /// The message is a dead letter, and does not run until a person redrives it.
    #[error(fmt = dead_lettered)]
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

    /// Another attempt took the claim while the body ran; its outcome was not recorded.
    #[error(
        "handler `{handler}`, key `{key}`: the claim passed to another attempt while the body ran, \
         and this outcome was not recorded. Make `lease` longer than the body can stall"
    )]
    LeaseLost {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// The attempt's transaction was not committed: neither its business data nor its result was
    /// written, and the message may run again.
    #[error(
        "handler `{handler}`, key `{key}`: the attempt's transaction was not committed, so nothing \
         that it wrote happened. Bring the message again"
    )]
    NotCommitted {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// The body of a handler with `transaction = "single"` or `"fresh"` returned `Ok` and never
    /// called `transaction()`, in whose commit its result would have been recorded.
    #[error(
        "handler `{handler}`, key `{key}`: the body returned without having called `transaction()`, \
         so its result has no transaction to be recorded in. The message is a dead letter and will \
         not run again. Call `transaction()` before anything else in the body, or write \
         `transaction = \"counted\"`"
    )]
    NoTransaction {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// The key is empty, has an empty part, is longer than 1 KiB, or its expression panicked;
    /// nothing ran.
    #[error(
        "handler `{handler}`: the idempotency key {why}; nothing ran. Give every message a key of \
         its own"
    )]
    InvalidKey {
        /// The handler's name.
        handler: String,
        /// What is wrong with it.
        why: String,
    },

    /// The arguments are larger than may be stored; nothing ran.
    #[error(
        "handler `{handler}`, key `{key}`: the payload is over the limit of {limit} bytes, and \
         nothing ran. Pass a reference in place of the content, `skip(…)` what is context, or \
         raise `payload_limit`"
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
        "handler `{handler}`, key `{key}`: done before, with a result of {size} bytes that was too \
         large to keep. Look it up where the handler put it, or raise `result_limit`"
    )]
    ResultTooLarge {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// The result's size in bytes.
        size: u64,
    },

    /// The message is done, and its result was [erased](crate::Idem::erase).
    #[error(
        "handler `{handler}`, key `{key}`: done before, and its result was erased. Look it up where \
         the handler put it"
    )]
    ResultErased {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
    },

    /// An argument or a result cannot be turned into JSON or back, or is nested more than 100
    /// levels deep.
    #[error("handler `{handler}`, key `{key}`: {}: {problem}. {}", stage.failed(), stage.outcome())]
    Codec {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// What could not be turned.
        stage: CodecStage,
        /// What is wrong with it, in words that hold [none of its values](crate::json::json_problem).
        problem: String,
    },

    /// The ledger cannot do its work; without a durable claim no body runs.
    #[error(fmt = ledger_failed)]
    Ledger {
        /// The handler's name, where a call was concerned.
        handler: Option<String>,
        /// The idempotency key, where a call was concerned.
        key: Option<String>,
        /// The cause.
        source: LedgerError,
    },

    /// This [`Idem`](crate::Idem) was closed; nothing ran.
    #[error(
        "{}this Idem was closed, and nothing ran. Open it again, or stop taking messages before \
         `close()`",
        site(handler.as_deref(), key.as_deref())
    )]
    Closed {
        /// The handler's name, where a call was concerned.
        handler: Option<String>,
        /// The idempotency key, where a call was concerned.
        key: Option<String>,
    },

    /// An issuer found no free key in its format.
    #[error(
        "issuer `{issuer}` found no free key: all that it tried are taken. Give its format a longer \
         random part"
    )]
    KeysExhausted {
        /// The issuer's name.
        issuer: String,
    },

    /// A message was put into the outbox from outside a handler's body.
    #[error(
        "`outbox().enqueue(…)` was called where no handler's body runs (a task that the body \
         spawned is outside), so it has no result to go with. Call `outbox().send(…).await` there"
    )]
    OutsideHandler,

    /// A message for the outbox is larger than a payload may be.
    #[error(
        "a message for `{destination}` has {size} bytes, and the limit is {limit}. Send a \
         reference, or raise `payload_limit`"
    )]
    OutboxMessageTooLarge {
        /// Its destination.
        destination: String,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl Error {
    /// Returns the handler's name, where the error is of one handler.
    pub fn handler(&self) -> Option<&str> {
        match self {
            Self::NotInstalled { handler }
            | Self::NameTaken { handler, .. }
            | Self::InProgress { handler, .. }
            | Self::NotYet { handler, .. }
            | Self::Paused { handler, .. }
            | Self::Panicked { handler, .. }
            | Self::TimedOut { handler, .. }
            | Self::KeyReused { handler, .. }
            | Self::KeyMismatch { handler, .. }
            | Self::NotIssued { handler, .. }
            | Self::DeadLettered { handler, .. }
            | Self::LeaseLost { handler, .. }
            | Self::NotCommitted { handler, .. }
            | Self::NoTransaction { handler, .. }
            | Self::InvalidKey { handler, .. }
            | Self::PayloadTooLarge { handler, .. }
            | Self::ResultErased { handler, .. }
            | Self::ResultTooLarge { handler, .. }
            | Self::Codec { handler, .. } => Some(handler),
            Self::Ledger { handler, .. } | Self::Closed { handler, .. } => handler.as_deref(),
            Self::AlreadyInstalled
            | Self::KeysExhausted { .. }
            | Self::OutsideHandler
            | Self::OutboxMessageTooLarge { .. } => None,
        }
    }

    /// Returns the message's idempotency key, where the error is of one message that has one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::InProgress { key, .. }
            | Self::NotYet { key, .. }
            | Self::Paused { key, .. }
            | Self::Panicked { key, .. }
            | Self::TimedOut { key, .. }
            | Self::KeyReused { key, .. }
            | Self::KeyMismatch { key, .. }
            | Self::NotIssued { key, .. }
            | Self::DeadLettered { key, .. }
            | Self::LeaseLost { key, .. }
            | Self::NotCommitted { key, .. }
            | Self::NoTransaction { key, .. }
            | Self::PayloadTooLarge { key, .. }
            | Self::ResultErased { key, .. }
            | Self::ResultTooLarge { key, .. }
            | Self::Codec { key, .. } => Some(key),
            Self::Ledger { key, .. } | Self::Closed { key, .. } => key.as_deref(),
            Self::NotInstalled { .. }
            | Self::AlreadyInstalled
            | Self::NameTaken { .. }
            | Self::InvalidKey { .. }
            | Self::KeysExhausted { .. }
            | Self::OutsideHandler
            | Self::OutboxMessageTooLarge { .. } => None,
        }
    }
}

impl From<LedgerError> for Error {
    fn from(source: LedgerError) -> Self {
        Self::Ledger {
            handler: None,
            key: None,
            source,
        }
    }
}

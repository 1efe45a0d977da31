//! Message and request handlers that may be called many times and take effect once.
//!
//! Put `#[idempotent(key = "…")]` on a handler, open an [`Idem`], and the same message can arrive
//! any number of times: the first call runs the body and records its result; a duplicate gets the
//! recorded result; a failure is retried a bounded number of times, counted durably; after that the
//! message is a dead letter and waits for a person.

// The doctests and the expansion name the crate as users do.
extern crate self as idem_runtime;

#[doc(hidden)]
pub mod __v0_1;
mod call;
mod clock;
mod dead_letters;
mod delivery;
mod error;
mod fault;
mod handler;
mod idem;
mod issuer;
mod json;
pub mod ledger;
mod message;
mod metrics;
mod notes;
mod outbox;
pub mod protocol;

pub use call::{Attempt, attempt};
pub use clock::{BoxFuture, Clock};
pub use dead_letters::{DeadLetters, RunOutcome, Watch};
pub use delivery::{Delivered, Refusal, Verdict};
pub use error::Error;
pub use idem::Idem;
pub use idem::IdemBuilder;
#[cfg(feature = "macros")]
pub use idem_macros::idempotent;
pub use issuer::{IssuedKey, KeyFormat, KeyIssuer};
/// A point in time.
pub use jiff::Timestamp;
pub use json::{Json, from_json, json_problem};
pub use ledger::{Filter, Ledger, LedgerError};
pub use message::REDACTED;
pub use metrics::describe_metrics;
pub use notes::Notes;
pub use outbox::{Keyed, Outbox, OutboxEntry, OutboxMessage};
pub use protocol::Note;
pub use protocol::{
    Action, ActionKind, Actor, AttemptOutcome, DeadLetter, DeadLetterId, Difference, Holder,
    LetterState, Origin, PastAttempt, Reason, Reused,
};
#[cfg(feature = "testing")]
pub mod testing;

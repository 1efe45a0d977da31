//! [attribute]: macro@idempotent
//! [letters]: DeadLetters
//! [outbox]: Outbox
//! [broker-guide]: Idem::deliver
//! [zh]: #the-repository
//! [duplicates]: #the-repository
//! [examples]: #the-repository
//! [guarantees]: #the-repository
//! [operations]: #the-repository
//! [tour]: #the-repository
//! [testing]: #the-repository
//! [benchmarks]: #the-repository
//! [architecture]: #the-repository
//! [decisions]: #the-repository
//! [changelog]: #the-repository
//! [brokers]: #the-repository
//! [rocketmq]: #the-repository
//! [ops]: #the-repository
//! [cli]: #the-repository
//! [crashtest]: #the-repository
//! [mit]: #the-repository
//! [apache]: #the-repository
//!
// The first definition of a link counts, so those above replace the README's own, which lead to
// files of the repository.
#![doc = include_str!("../README.md")]
//!
//! # The repository
//!
//! The guides are in `docs/`, the small programs in `examples/`, and each other crate has a
//! `README.md` in its folder.

// The doctests and the expansion name the crate as users do.
extern crate self as idem_runtime;

#[doc(hidden)]
pub mod __v0_1;
mod call;
mod clock;
mod dead_letters;
mod delivery;
mod error;
mod failpoint;
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
#[cfg(feature = "__failpoints")]
#[doc(hidden)]
pub use failpoint::points as __failpoints;
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

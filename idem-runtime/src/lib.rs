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
mod bounds;
mod builder;
mod call;
mod clock;
mod codec;
mod current;
mod delivery;
mod envelope;
mod error;
mod failpoint;
mod fingerprint;
mod handler;
mod idem;
mod issue;
mod json;
mod json_problem;
mod keeper;
mod key;
mod keyed;
pub mod ledger;
mod letters;
mod message;
mod names;
mod observe;
mod outbox;
mod panic;
pub mod protocol;
mod redact;

pub use builder::Builder;
pub use call::{Attempt, attempt};
pub use clock::{BoxFuture, Clock};
pub use delivery::{Delivered, Refusal, Verdict};
pub use error::Error;
#[cfg(feature = "__failpoints")]
#[doc(hidden)]
pub use failpoint::points as __failpoints;
pub use idem::Idem;
#[cfg(feature = "macros")]
pub use idem_macros::idempotent;
pub use issue::{Issued, Issuer, Rule};
/// A point in time.
pub use jiff::Timestamp;
pub use json::Json;
pub use json_problem::{from_json, json_problem};
pub use keyed::Keyed;
pub use ledger::{Filter, Ledger, LedgerError, Note, Notes};
pub use letters::{DeadLetters, Ran, Watch};
pub use observe::describe_metrics;
pub use outbox::{Outbox, Outgoing, Queued};
pub use protocol::{
    Act, AttemptOutcome, By, DeadLetter, DeadLetterId, Deed, Difference, Holder, LetterState,
    Origin, PastAttempt, Reason, Reused,
};
pub use redact::REDACTED;
#[cfg(feature = "testing")]
pub mod testing;
mod wait;
mod writing;

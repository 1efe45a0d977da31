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
pub mod clock;
pub mod dead_letters;
pub mod delivery;
mod error;
mod fault;
mod handler;
mod idem;
pub mod issuer;
pub mod json;
pub mod ledger;
mod message;
pub mod metrics;
pub mod notes;
pub mod outbox;
pub mod protocol;

pub use call::{Attempt, attempt};
pub use delivery::{Delivered, Verdict};
pub use error::Error;
pub use idem::{Idem, IdemBuilder};
#[cfg(feature = "macros")]
pub use idem_macros::idempotent;
pub use ledger::{Filter, Ledger};
pub use protocol::{DeadLetter, DeadLetterId, LetterState, Origin};
#[cfg(feature = "testing")]
pub mod testing;

//! [attribute]: macro@idempotent
//! [each]: macro@idempotent
//! [letters]: dead_letters::DeadLetters
//! [outbox]: outbox::Outbox
//! [broker-guide]: Idem::deliver
//! [zh]: #the-repository
//! [duplicates]: #the-repository
//! [examples]: #the-repository
//! [guarantees]: #the-repository
//! [http]: #the-repository
//! [changing]: #the-repository
//! [operations]: #the-repository
//! [outages]: #the-repository
//! [tour]: #the-repository
//! [testing]: #the-repository
//! [benchmarks]: #the-repository
//! [ledgers]: #the-repository
//! [postgres]: #the-repository
//! [architecture]: #the-repository
//! [decisions]: #the-repository
//! [changelog]: #the-repository
//! [brokers]: #the-repository
//! [postgres-crate]: #the-repository
//! [rocketmq]: #the-repository
//! [http-crate]: #the-repository
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
pub mod clock;
pub mod dead_letters;
pub mod delivery;
pub mod error;
mod failpoint;
mod handler;
mod idem;
pub mod issuer;
pub mod json;
pub mod ledger;
mod log;
mod message;
pub mod metrics;
pub mod notes;
pub mod outbox;
pub mod pause;
pub mod protocol;
pub mod seal;
pub mod trace;

pub use call::{
    Attempt, Batches, HandlerCall, Replayed, attempt, found_existing, one, watch_replay,
};
pub use delivery::{Delivered, Verdict};
pub use error::Error;
#[cfg(feature = "__failpoints")]
#[doc(hidden)]
pub use failpoint::points as __failpoints;
pub use handler::definition::{HandlerDef, HandlerDefBuilder, HandlerDefError};
pub use idem::{Idem, IdemBuilder};
#[cfg(feature = "macros")]
pub use idem_macros::idempotent;
pub use ledger::{Filter, Ledger};
pub use protocol::{DeadLetter, DeadLetterId, LetterState, Origin};
pub use seal::SealKeys;
#[cfg(feature = "testing")]
pub mod testing;

//! Skeleton.
extern crate self as idem_runtime;

#[cfg(feature = "macros")]
pub use idem_macros::idempotent;

mod bounds;
mod call;
mod error;
mod handler;
mod idem;
mod message;
#[doc(hidden)]
pub mod __v0_1;

pub use error::Error;
pub use idem::Idem;

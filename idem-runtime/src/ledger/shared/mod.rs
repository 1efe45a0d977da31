//! The core that the ledgers of several machines share: what they have in common, over a [`Store`].

mod store;

use std::time::Duration;

pub use store::{
    LetterWrite, Owner, Row, RowChange, Rows, Runner, Store, StoreError, StoreErrorKind,
    StoreTransaction, Write, Written,
};

/// How long after it was asked for a write may still take place, whatever became of its answer. A
/// store sees to it, with the timeouts of its server and its connections.
pub const LATEST: Duration = Duration::from_secs(30);

//! A transaction that an attempt carries: its business data and its result are one write.

use std::any::Any;

use super::LedgerError;
use crate::clock::BoxFuture;
use crate::protocol::{RecordId, Reply, Step};

/// An open transaction of a ledger's store. Dropped without [`finish`](Self::finish), it is rolled
/// back.
pub trait Transaction: Any + Send {
    /// Makes one step of a record within the transaction and commits it, if the step is recorded.
    /// Any other reply says that nothing of the transaction happened.
    ///
    /// The record's row is not locked before this, so that other processes can read it and renewals
    /// do not wait while the body runs.
    ///
    /// # Errors
    /// [`CommitError::NotCommitted`] when nothing of it happened; [`CommitError::Unknown`] when the
    /// answer was lost, so that all of it may have happened, or happen a moment later.
    fn finish(
        self: Box<Self>,
        id: &RecordId,
        step: Step,
    ) -> BoxFuture<'static, Result<Reply, CommitError>>;

    /// Returns the transaction as its own type, through which a body writes its business data.
    fn as_any_mut(&mut self) -> &mut (dyn Any + Send);
}

/// A transaction that was begun before it was asked for, if one was.
pub type Begun = Option<Box<dyn Transaction>>;

/// Why a transaction is not known to be committed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// It was rolled back: another write came first, or the store refused it.
    #[error("the transaction was not committed: {0}")]
    NotCommitted(LedgerError),
    /// The answer to the commit was lost.
    #[error("the answer to the commit was lost: {0}")]
    Unknown(LedgerError),
}

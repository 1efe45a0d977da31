//! Where records and dead letters are kept.

pub(crate) mod error;
mod filter;
#[cfg(feature = "sled")]
pub(crate) mod sled;

use std::path::Path;
use std::time::Duration;

pub use crate::notes::Notes;
pub use crate::protocol::note::{Note, NoteChange, check_keys, unnotified_key};
pub use error::LedgerError;
pub use filter::Filter;
#[cfg(feature = "sled")]
pub use sled::SledLedger;

use crate::clock::BoxFuture;
use crate::protocol::{Claim, DeadLetter, DeadLetterId, Record, RecordId, Reply, Step};

/// A store of records and dead letters, in which every step is atomic and, once answered, durable.
///
/// A ledger decides nothing: it hands the record, the step and its
/// [`Facts`](crate::protocol::Facts) to
/// [`decide`](crate::protocol::decide) inside its own critical section, and writes what comes back, all of it or
/// nothing. Whoever writes one runs the laws of `idem_runtime::testing` against it.
pub trait Ledger: Send + Sync + 'static {
    /// Makes one step of a record. Once polled, the step happens even when the future is dropped.
    ///
    /// # Errors
    /// Whatever keeps the step from being durable. It may have been written all the same; asking
    /// again is safe.
    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>>;

    /// What a claim is answered where the ledger knows it at once and durably: that the message is
    /// settled, or the key another one's. A duplicate then costs one read. A ledger that would have
    /// to ask elsewhere leaves it to
    /// [`apply`](Self::apply).
    fn look(&self, id: &RecordId, claim: &Claim) -> Option<Reply> {
        let _ = (id, claim);
        None
    }

    /// A key's record, settled ones past their time to live included.
    ///
    /// # Errors
    /// When it cannot be read.
    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>>;

    /// One dead letter.
    ///
    /// # Errors
    /// When it cannot be read.
    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>>;

    /// The letters a filter asks for, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>>;

    /// How many letters are open.
    ///
    /// # Errors
    /// When it cannot be told.
    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>>;

    /// A bounded piece of what time alone does: every live record, and the next `settled` of the
    /// settled records and closed letters. Closed letters go after `retention`.
    ///
    /// # Errors
    /// When it cannot be done; what was done stays.
    fn sweep(
        &self,
        settled: usize,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, LedgerError>>;

    /// Notes whose keys begin with `prefix`, after one (or from the first), in the order of their
    /// keys' bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>>;

    /// Writes and removes notes, all of it or nothing, after all that this process asked for
    /// earlier: an empty list is answered once that is recorded or has failed.
    ///
    /// Where a key asks for a number ([`place_of`]), and likewise in [`Step::Complete`], it gets
    /// one that is larger than that of every such note that could be read before, from whichever
    /// process: numbers are given in the order in which notes become readable.
    ///
    /// # Errors
    /// [`LedgerError::KeyTooLong`], of which nothing is written ([`check_keys`]); whatever keeps it from being durable. Then
    /// it may have been written all the same.
    fn write_notes(&self, changes: Vec<NoteChange>) -> BoxFuture<'static, Result<(), LedgerError>>;

    /// What the ledger takes on the disk, in bytes, where it can tell.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn size(&self) -> BoxFuture<'static, Result<Option<u64>, LedgerError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Copies the ledger, as it is at one moment, into a folder that is empty or not there yet.
    /// Once polled, it is made even when the future is dropped.
    ///
    /// # Errors
    /// When it cannot be copied so; what there was of the copy is removed.
    fn copy_to(&self, folder: &Path) -> BoxFuture<'static, Result<(), LedgerError>> {
        let reason = "this ledger is no folder; copy it with its own server's tools".to_owned();
        Box::pin(std::future::ready(Err(LedgerError::NotCopied {
            path: folder.to_owned(),
            reason,
        })))
    }

    /// Whether claims of other processes can be met here, so that leases count and are renewed.
    fn leases(&self) -> bool;

    /// Writes what is waiting and lets go of the files or connections.
    ///
    /// # Errors
    /// When something that was asked for could not be written.
    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>>;
}

/// What a sweep did.
#[derive(Debug, Default, Clone, PartialEq)]
#[non_exhaustive]
pub struct Swept {
    /// The dead letters it wrote, of messages that never came again.
    pub dead_lettered: Vec<DeadLetter>,
    /// How many records and closed letters it removed.
    pub removed: u64,
    /// Whether it reached the end of the settled records, so that the next sweep starts over.
    pub finished: bool,
}

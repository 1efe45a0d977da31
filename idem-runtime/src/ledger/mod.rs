//! The ledger: the store of records, dead letters and notes.

mod capabilities;
mod context;
pub(crate) mod error;
mod filter;
#[cfg(feature = "fjall")]
pub(crate) mod fjall;
#[cfg(feature = "__folder")]
mod folder;
mod metrics;
pub mod shared;
#[cfg(feature = "sled")]
pub(crate) mod sled;
#[cfg(feature = "__folder")]
mod stopped;
mod transaction;
mod unfinished;

use std::any::Any;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

pub use crate::protocol::note::{ExpectedNote, Note, NoteChange, check_keys, unnotified_key};
pub use capabilities::{Capabilities, Leases};
pub use context::Context;
pub use error::{LedgerError, LedgerErrorKind};
pub use filter::Filter;
#[cfg(feature = "fjall")]
pub use fjall::{FjallLedger, FjallStore};
#[cfg(feature = "__folder")]
pub use folder::engine::Engine;
#[cfg(feature = "__folder")]
pub(crate) use folder::held::once_free;
#[cfg(feature = "sled")]
pub use sled::SledLedger;
#[cfg(feature = "sled")]
#[doc(hidden)]
pub use sled::{Import, ImportLedger, Imported};
#[cfg(feature = "__folder")]
#[doc(hidden)]
pub use stopped::{StoppedLedger, StoppedRecord};
pub use transaction::{Begun, CommitError, Transaction};
#[doc(hidden)]
pub use unfinished::UNFINISHED_MIGRATION;

pub use crate::call::{AttemptTransaction, Claims, transaction};
use crate::clock::BoxFuture;
pub use crate::idem::background::Background;
use crate::protocol::{Claim, DeadLetter, DeadLetterId, Foreseen, Record, RecordId, Reply, Step};

/// A store of records, dead letters and notes, whose every step is atomic and, once answered,
/// durable.
///
/// A ledger decides nothing. For each [`Step`] it enters a critical section of the record, reads
/// the record, calls [`decide`](crate::protocol::decide) with the record, the step and its
/// [`Facts`](crate::protocol::Facts), and writes the [`Decision`](crate::protocol::Decision): the
/// record, the letter and the notes, all of them or nothing. It answers once that is durable.
///
/// The runtime relies on these rules:
///
/// - Steps of one record happen one after the other, whichever process asks for them.
/// - [`Facts::token`](crate::protocol::Facts::token) is larger than every token that the ledger
///   has given out for the key, also before the key was absent.
/// - A step whose answer was an error, or was never awaited, may have been written. The runtime
///   asks again, which is safe: once the second answer has come, the first asking has no effect
///   any more.
/// - Steps may be asked for from any thread, with or without a tokio runtime, and also by a thread
///   that blocks until the answer comes. A ledger over a network does its I/O on the
///   [background](Context::background) that it was opened with.
/// - A step whose store does not answer fails within a bounded time.
/// - Durations and times count in milliseconds; finer parts may be lost.
///
/// Test an implementation with the laws of `idem_runtime::testing`, one function each;
/// `MemoryLedger` there is a small one to read. A ledger over a network is best a [`Store`](shared::Store) under
/// the [`SharedLedger`](shared::SharedLedger): `docs/ledgers.md` says how to write either.
pub trait Ledger: Any + Send + Sync + 'static {
    /// Returns what the ledger can do. The answer never changes.
    fn capabilities(&self) -> Capabilities;

    /// Makes one step of a record.
    ///
    /// Once the future was polled, the step happens even if the future is dropped.
    ///
    /// # Errors
    /// When the step may not be durable. It may have been written all the same.
    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>>;

    /// Returns the answer to a claim, if the ledger knows it without waiting and the answer is
    /// durable: the message is settled, or the key belongs to another message.
    ///
    /// A duplicate then costs one read. The default leaves each claim to [`apply`](Self::apply).
    fn look(&self, id: &RecordId, claim: &Claim) -> Option<Reply> {
        let _ = (id, claim);
        None
    }

    /// Resolves when a key's record may have changed: a hint, so that a waiting call need not ask.
    ///
    /// With `None`, the default, the runtime asks ten times a second. A hint may be missed or come
    /// without a change: the runtime still asks now and then.
    fn changed(&self, id: &RecordId) -> Option<BoxFuture<'static, ()>> {
        let _ = id;
        None
    }

    /// Begins a transaction of the ledger's own store, in which an attempt can write its business
    /// data and record its result. The default refuses.
    ///
    /// # Errors
    /// [`LedgerError::Unsupported`] where the ledger has none; any other when it cannot be begun.
    fn begin(&self) -> BoxFuture<'static, Result<Box<dyn Transaction>, LedgerError>> {
        let unsupported = LedgerError::Unsupported("transactions");
        Box::pin(std::future::ready(Err(unsupported)))
    }

    /// Decides a claim without making it, for an attempt that [`Step::Attempt`] records as a whole.
    /// The default refuses, as only a ledger with [transactions](Self::begin) is asked.
    ///
    /// A ledger may [begin](Self::begin) the attempt's transaction in the same trip. It is dropped if the
    /// body does not ask for it before it waits for anything else.
    ///
    /// # Errors
    /// [`LedgerError::Unsupported`] where the ledger has none; any other when the record cannot be
    /// read.
    fn foresee(
        &self,
        id: &RecordId,
        claim: Claim,
    ) -> BoxFuture<'static, Result<(Foreseen, Begun), LedgerError>> {
        let _ = (id, claim);
        let unsupported = LedgerError::Unsupported("transactions");
        Box::pin(std::future::ready(Err(unsupported)))
    }

    /// Returns a key's record, or `None` if there is none. A settled record whose time to live has
    /// passed may still be returned.
    ///
    /// # Errors
    /// When it cannot be read.
    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>>;

    /// Returns a dead letter, open or closed.
    ///
    /// # Errors
    /// When it cannot be read.
    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>>;

    /// Returns the letters that [match](Filter::matches) a filter, newest first, at most
    /// [`Filter::limit`] of them.
    ///
    /// # Errors
    /// When they cannot be read.
    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>>;

    /// Returns the number of open letters. The default reads and counts them.
    ///
    /// # Errors
    /// When they cannot be counted.
    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>> {
        let open = self.letters(&Filter::default().limit(usize::MAX));
        Box::pin(async move { Ok(open.await?.len() as u64) })
    }

    /// Applies [`Step::Sweep`] to every live record, and removes expired records and closed
    /// letters. Now and then it counts the messages that wait for an attempt.
    ///
    /// It visits at most `settled` of the settled records and closed letters; the next call goes on
    /// behind them. Closed letters are removed `retention` after they were closed. The runtime
    /// calls this every second, and once with `settled` 0 when it opens the ledger.
    ///
    /// # Errors
    /// When it cannot finish. What it has written stays.
    fn sweep(
        &self,
        settled: usize,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, LedgerError>>;

    /// Returns at most `limit` notes whose keys begin with `prefix` and are greater than `after`,
    /// in the order of their keys' bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>>;

    /// Writes and removes notes, all of them or none, after everything that this process asked for
    /// earlier. The answer to an empty list comes once that is recorded or has failed.
    ///
    /// Returns whether they were written: nothing is, if one of the `expected` notes is not as
    /// expected. The comparison and the write are one atomic step among those of all processes.
    ///
    /// A [key that asks for a number](Note), here and in [`Step::Complete`], gets one that is
    /// larger than that of every such note that any process could read before: numbers are given in
    /// the order in which notes become readable.
    ///
    /// # Errors
    /// [`LedgerError::KeyTooLong`] when [`check_keys`] refuses a key; then nothing is written. Any
    /// other error when the notes may not be durable; they may have been written all the same.
    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> BoxFuture<'static, Result<bool, LedgerError>>;

    /// Returns the ledger's size on disk in bytes, or `None` if it is not known.
    ///
    /// # Errors
    /// When it cannot be read.
    fn size(&self) -> BoxFuture<'static, Result<Option<u64>, LedgerError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Copies the ledger, as it is at one moment, into a folder that is empty or does not exist.
    ///
    /// Once the future was polled, the copy is made even if the future is dropped. The default
    /// refuses.
    ///
    /// # Errors
    /// When the copy cannot be made; an incomplete one is removed.
    fn copy_to(&self, folder: &Path) -> BoxFuture<'static, Result<(), LedgerError>> {
        let reason = "this ledger is not a folder. Copy it with its own server's tools".to_owned();
        Box::pin(std::future::ready(Err(LedgerError::NotCopied {
            path: folder.to_owned(),
            reason,
        })))
    }

    /// Writes everything that was asked for, and releases the files or connections.
    ///
    /// # Errors
    /// When something that was asked for could not be written.
    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>>;
}

/// The outcome of a sweep.
#[derive(Debug, Default, Clone, PartialEq)]
#[non_exhaustive]
pub struct Swept {
    /// The dead letters it wrote, of messages that never came again.
    pub dead_lettered: Vec<DeadLetter>,
    /// The number of records and closed letters it removed.
    pub removed: u64,
    /// Whether it reached the end of the settled records, so that the next sweep starts over.
    pub finished: bool,
    /// The messages that wait, if this sweep has counted them.
    pub waiting: Option<Waiting>,
}

/// The messages that wait for their next attempt.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// How many there are.
    pub count: u64,
    /// When the oldest of them first came.
    pub oldest: Option<Timestamp>,
}

impl Waiting {
    /// Returns so many messages, of which the oldest first came then.
    pub fn new(count: u64, oldest: Option<Timestamp>) -> Self {
        Self { count, oldest }
    }
}

/// Adds messages that first came at these times.
impl Extend<Timestamp> for Waiting {
    fn extend<T: IntoIterator<Item = Timestamp>>(&mut self, first_seen: T) {
        for at in first_seen {
            self.count += 1;
            let oldest = self.oldest.get_or_insert(at);
            *oldest = at.min(*oldest);
        }
    }
}

impl FromIterator<Timestamp> for Waiting {
    fn from_iter<T: IntoIterator<Item = Timestamp>>(first_seen: T) -> Self {
        let mut waiting = Self::default();
        waiting.extend(first_seen);
        waiting
    }
}

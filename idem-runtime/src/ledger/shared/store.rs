//! What a shared ledger needs of a store.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::error::with_cause;
use crate::ledger::error::cause;
use crate::ledger::{ExpectedNote, Filter, LedgerError, Note, NoteChange, Waiting};
use crate::protocol::{DeadLetter, DeadLetterId, Record, RecordId};

/// The store of a [`SharedLedger`](super::SharedLedger): rows with versions that are written if
/// they are as expected, on a server that several processes share.
///
/// A store decides nothing and waits for nothing but its server. The shared ledger batches, retries
/// lost races, settles lost answers and keeps leases. It calls the store on the
/// [background](crate::ledger::Context::background), and where a caller is whose step is asked for
/// alone: calls may run beside one another.
///
/// The shared ledger relies on these rules:
///
/// - **A write takes place if and only if its row has the expected version**, together with its
///   letter and notes, or not at all. Each write of a batch on its own, except that nothing of a
///   batch takes place once its runner is dead.
/// - **What was answered is durable**, and every later read of any process sees it.
/// - **Time is the store's**, and does not go back. Each answer carries it.
/// - **An error says what is known**: see [`StoreErrorKind`]. A request whose future is dropped may
///   still take place, like one whose answer was lost, but not later than
///   [`LATEST`](super::LATEST).
pub trait Store: Send + Sync + 'static {
    /// The transactions of [`begin`](Self::begin); [`Infallible`] where there are none.
    type Transaction: StoreTransaction;

    /// Reads rows, in the order of the ids, and the store's time.
    ///
    /// # Errors
    /// When the rows cannot be read. A row that cannot be decoded is an error of its own.
    fn read(&self, ids: Vec<RecordId>) -> impl Future<Output = Result<Rows, StoreError>> + Send;

    /// Makes the writes of one batch in the name of a runner, in one trip and one commit. No two are
    /// of one row.
    ///
    /// # Errors
    /// [`StoreErrorKind::RunnerDead`] when the runner was marked dead or is not known: nothing took
    /// place.
    fn write(
        &self,
        runner: &Runner,
        writes: Vec<Write>,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Reserves `count` numbers, and returns the first. They are larger than all that were reserved
    /// before, by any process, also after a restart of the store. The first of all is 1.
    ///
    /// # Errors
    /// When none were reserved, or the answer was lost.
    fn reserve(&self, count: u64) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Says that a runner lives for another `lease` from now on, by the store's clock. The first
    /// beat adds it. Returns the store's time.
    ///
    /// No row that the runner [owns](Write::owner) has a version below `oldest`, nor will one have:
    /// a store may find the rows of a dead runner by it. A row whose write was answered with an error
    /// may be missed so; it has a [`due`](field@Write::due) as well.
    ///
    /// A runner that owns no row may be forgotten a day after its lease ended. Its process begins a
    /// new life before it beats again, however long it stood still.
    ///
    /// # Errors
    /// [`StoreErrorKind::RunnerDead`] when it was marked dead: it stays dead.
    fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> impl Future<Output = Result<Timestamp, StoreError>> + Send;

    /// Marks a runner dead if its lease ends at exactly `until`, as it was [read](Owner::Until), and
    /// that is not after the store's time; without `until`, whatever its lease. One that is not known
    /// is marked dead too, with or without `until`. Returns whether it is dead now.
    ///
    /// # Errors
    /// When the answer was lost.
    fn retire(
        &self,
        runner: &Runner,
        until: Option<Timestamp>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns up to `limit` rows of [live](Write::live) records that may have something due:
    /// [`due`](field@Write::due) has passed, or their [owner](Write::owner) is dead, not known, or its lease
    /// has ended. Rows that it returned last time and that are still due may be returned again; if
    /// they always come first, rows that cannot be decoded keep others from their turn.
    ///
    /// # Errors
    /// When they cannot be read.
    fn due(&self, limit: usize) -> impl Future<Output = Result<Vec<RecordId>, StoreError>> + Send;

    /// Removes up to `limit` rows whose records are not [live](Write::live) and whose
    /// [`due`](field@Write::due) has passed. Returns how many.
    ///
    /// # Errors
    /// When they cannot be removed.
    fn remove_due(&self, limit: usize) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Counts the rows that [wait](field@Write::waiting) for an attempt.
    ///
    /// # Errors
    /// When they cannot be counted.
    fn waiting(&self) -> impl Future<Output = Result<Waiting, StoreError>> + Send;

    /// Returns a letter, open or closed.
    ///
    /// # Errors
    /// When it cannot be read.
    fn letter(
        &self,
        id: DeadLetterId,
    ) -> impl Future<Output = Result<Option<DeadLetter>, StoreError>> + Send;

    /// Returns the letters that a filter [matches](Filter::matches), newest first, at most
    /// [`Filter::limit`] of them.
    ///
    /// # Errors
    /// When they cannot be read.
    fn letters(
        &self,
        filter: Filter,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, StoreError>> + Send;

    /// Returns the number of open letters.
    ///
    /// # Errors
    /// When they cannot be counted.
    fn open_letters(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Removes up to `limit` letters that were closed at `until` or earlier, each with its
    /// [marker](crate::protocol::unnotified_key). Returns how many.
    ///
    /// # Errors
    /// When they cannot be removed.
    fn remove_letters(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Returns notes as [`Ledger::notes`](crate::ledger::Ledger::notes) does.
    ///
    /// # Errors
    /// When they cannot be read.
    fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Note>, StoreError>> + Send;

    /// Writes notes as [`Ledger::write_notes`](crate::ledger::Ledger::write_notes) does: all of them
    /// if all is as expected, and returns whether it was. Their keys were checked before. A note that
    /// is put under a key with a number, which another ledger gave it, makes later numbers larger.
    ///
    /// # Errors
    /// When they may not be durable.
    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Says that calls of this process wait for a change of a row. It is said again while they do. The
    /// default does nothing.
    fn watch(&self, _id: &RecordId) {}

    /// Waits until rows were changed by other processes, and returns which: a hint, of which some
    /// may be missed. The default never resolves.
    fn changed(&self) -> impl Future<Output = Vec<RecordId>> + Send {
        std::future::pending()
    }

    /// Returns whether it can be asked on this runtime, which need not be the background's (default:
    /// yes). A store on a server needs a runtime that drives I/O.
    fn works_on(&self, _: &Handle) -> bool {
        true
    }

    /// Returns whether no other process uses it while this one does, so that claims need no lease
    /// (default: no). All runners of before its opening are then dead.
    fn has_one_process(&self) -> bool {
        false
    }

    /// Returns whether attempts can [begin](Self::begin) a transaction (default: no).
    fn has_transactions(&self) -> bool {
        false
    }

    /// Begins a transaction, on the runtime of the attempt that carries it. The default refuses.
    ///
    /// # Errors
    /// When it cannot be begun.
    fn begin(&self) -> impl Future<Output = Result<Self::Transaction, StoreError>> + Send {
        let unsupported = StoreError::new(StoreErrorKind::Refused, "it has no transactions");
        std::future::ready(Err(unsupported))
    }

    /// Reads one row, as [`read`](Self::read) does, and [begins](Self::begin) a transaction in the same
    /// trip if it can do so at once. The default only reads.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read_and_begin(
        &self,
        id: RecordId,
    ) -> impl Future<Output = Result<(Rows, Option<Self::Transaction>), StoreError>> + Send {
        async move { Ok((self.read(vec![id]).await?, None)) }
    }

    /// Returns how many bytes the ledger takes on the server's disk, or `None` if it is not known (the
    /// default).
    ///
    /// # Errors
    /// When they cannot be counted.
    fn size(&self) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Releases the connections.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A transaction of a store. Dropped, it is rolled back.
pub trait StoreTransaction: Send + 'static {
    /// Makes one write within the transaction, in the name of a runner. Returns whether its row was
    /// as expected. Of the transaction and another write of the row, the one that comes second does
    /// not take place.
    ///
    /// # Errors
    /// When it cannot be written: [`StoreErrorKind::RunnerDead`] when the runner was marked dead or is
    /// not known. The transaction can then only be rolled back.
    fn write(
        &mut self,
        runner: &Runner,
        write: Write,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Commits.
    ///
    /// # Errors
    /// [`StoreErrorKind::Lost`] when it may have been committed all the same; with any other kind,
    /// nothing of it happened: [`StoreErrorKind::Away`] when another process wrote the row first,
    /// [`StoreErrorKind::RunnerDead`] when the runner was marked dead since it wrote. A store that locks
    /// the row may commit then: no other process has the claim.
    fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes a last write and commits, in as few round trips as may be. Returns whether its row was as
    /// expected: else nothing of the transaction takes place. The default
    /// [writes](Self::write) and [commits](Self::commit).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn finish(
        mut self,
        runner: &Runner,
        write: Write,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send
    where
        Self: Sized,
    {
        async move {
            let as_expected = self.write(runner, write).await?;
            if as_expected {
                self.commit().await?;
            }
            Ok(as_expected)
        }
    }
}

/// The transaction of a store that has none.
impl StoreTransaction for Infallible {
    async fn write(&mut self, _: &Runner, _: Write) -> Result<bool, StoreError> {
        match *self {}
    }

    async fn commit(self) -> Result<(), StoreError> {
        match self {}
    }
}

/// A process that holds claims: its name, which no other process and no earlier life of this one
/// has had.
pub type Runner = Arc<str>;

/// Rows, in the order in which they were asked for.
#[derive(Debug)]
pub struct Rows {
    /// One for each id; `None` where there is no row, an error where a record cannot be decoded.
    pub rows: Vec<Result<Option<Row>, LedgerError>>,
    /// The store's time when they were read.
    pub now: Timestamp,
}

/// A row of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The number of the write that made it.
    pub version: u64,
    /// The record. A row without one stays for a while after its record was removed, so that no late
    /// write takes it for one that never was.
    pub record: Option<Record>,
    /// As it was [written](field@Write::due).
    pub due: Option<Timestamp>,
    /// The runner that holds the record's running claim.
    pub owner: Owner,
}

/// What the store knows of the runner that holds a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The record has no running claim.
    None,
    /// This runner, which lives until then unless it beats again.
    Until(Runner, Timestamp),
    /// It was marked dead, or it is not known.
    Dead,
}

/// One write of a row, if it is as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The row.
    pub id: RecordId,
    /// The version that it must have; `None` if it must not exist.
    pub expected: Option<u64>,
    /// The version that it gets, which no other write has.
    pub version: u64,
    /// The [encoded](Record::encode) record, or `None` for a row without one.
    pub record: Option<Vec<u8>>,
    /// Whether the record is [live](Record::Live).
    pub live: bool,
    /// When time alone may change a live record, or the row is to be [removed](Store::remove_due).
    pub due: Option<Timestamp>,
    /// The runner that holds the record's running claim: the one in whose name it is written.
    pub owner: Option<Runner>,
    /// When the record's message first came, if it waits for its next attempt.
    pub waiting: Option<Timestamp>,
    /// The letter to write with it. Its marker is among the notes.
    pub letter: Option<LetterWrite>,
    /// The notes to write with it. [Numbered ones](Note) get their numbers when they are recorded.
    pub notes: Vec<NoteChange>,
}

impl Write {
    /// Returns the write of a row without a record, with nothing beside it.
    pub fn new(id: RecordId, expected: Option<u64>, version: u64) -> Self {
        Self {
            id,
            expected,
            version,
            record: None,
            live: false,
            due: None,
            owner: None,
            waiting: None,
            letter: None,
            notes: Vec::new(),
        }
    }
}

/// A letter that is written with a row.
#[derive(Debug, Clone, PartialEq)]
pub struct LetterWrite {
    /// The letter as it is from now on. In a box, because most writes have none.
    pub letter: Box<DeadLetter>,
    /// Whether it is new. Else it must exist, or the write does not take place.
    pub is_new: bool,
}

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The [versions](Write::version) of the writes that took place, in any order.
    pub versions: Vec<u64>,
    /// The store's time.
    pub now: Timestamp,
}

/// Why a store did not do what it was asked for. The alternate form of its text, `{:#}`, adds the
/// causes.
#[derive(Debug, Clone, thiserror::Error)]
pub struct StoreError {
    /// What is known of the request.
    pub kind: StoreErrorKind,
    /// What happened, in the store's words, without its cause or a value of a payload.
    pub message: String,
    /// The client's or the server's error.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What is known of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Nothing took place, and the same request may succeed in a moment: no connection, a
    /// deadlock, a server that starts.
    Away,
    /// The answer was lost: it may have taken place, or may yet.
    Lost,
    /// Nothing took place, and the same request would be refused again: one of the writes is bad, or
    /// what was read cannot be decoded.
    Refused,
    /// Nothing took place, because the runner was marked dead or is not known.
    RunnerDead,
    /// Nothing took place, and nothing will before a person has acted: the store has lost what it
    /// acknowledged. What would begin fails at once; what ends waits as with [`Away`](Self::Away).
    Stopped,
}

impl StoreErrorKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::RunnerDead => "runner_dead",
            Self::Stopped => "stopped",
        }
    }
}

impl StoreError {
    /// Returns an error without a source.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Says that what was asked for needs a commit that was not asked for: an answer that was
    /// [lost](StoreErrorKind::Lost) says then that nothing took place.
    #[must_use]
    pub fn before_commit(mut self) -> Self {
        if self.kind == StoreErrorKind::Lost {
            self.kind = StoreErrorKind::Away;
        }
        self
    }

    /// Sets the client's or the server's error.
    #[must_use]
    pub fn source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_cause(f, &self.message, cause(&self.source))
    }
}

//! The rows, letters and notes in the database.

mod copy;
mod letters;
mod literal;
mod notes;
mod one;
mod rows;
mod runners;
mod statement;
mod timeline;
pub(crate) mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_runtime::ledger::shared::{
    LATEST, Rows, Runner, Store, StoreError, StoreErrorKind, Write, Written, drives_io,
};
use idem_runtime::ledger::{ExpectedNote, Filter, Note, NoteChange, Waiting};
use idem_runtime::protocol::{DeadLetter, DeadLetterId, RecordId};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type};
use tokio::runtime::Handle;

use crate::error::{of_connecting, of_statement};
use crate::feed::Feed;
use crate::link::{Line, Link};
use crate::room::Room;
use crate::schema::Schema;
use crate::sessions::Sessions;
use crate::transaction::{Open, PostgresTransaction, begin};

pub use copy::Page;

/// A store on PostgreSQL, for a [`SharedLedger`](idem_runtime::ledger::shared::SharedLedger).
///
/// [`Postgres::connect`](crate::Postgres::connect) makes one with its ledger. On its own it serves
/// tests, and tools that copy rows.
#[derive(Debug)]
pub struct PostgresStore {
    schema: Schema,
    writes: Sessions,
    /// The connection of heartbeats, which must not wait behind a batch.
    keeper: Line,
    reads: Sessions,
    transactions: Sessions,
    /// Whether their sessions have the statements that idem prepares.
    prepares: bool,
    /// The statement that begins one.
    begin: String,
    lease: Duration,
    time: Arc<ToldTime>,
    feed: Arc<Feed>,
}

/// The latest of the server's times, and when it was told.
#[derive(Debug)]
pub(crate) struct ToldTime(Mutex<(Timestamp, Instant)>);

impl PostgresStore {
    pub(crate) fn new(
        schema: Schema,
        link: &Link,
        reads: Sessions,
        room: Room,
        lease: Duration,
    ) -> Self {
        // Through a pooler no message arrives.
        let listener = (!link.bounced).then(|| link.listening(&UNSYNCED));
        let feed = Feed::new(listener, schema.name());
        // A pooler gives each transaction another session.
        let prepares = !link.bounced;
        let prepare = [rows::PREPARE, one::PREPARE].map(|sql| schema.sql(sql).as_str().to_owned());
        let prepare = prepares.then(|| prepare.join("; "));
        Self {
            schema,
            feed: Arc::new(feed),
            writes: Sessions::with_settings(link.clone(), room.writes),
            keeper: Line::new(link.clone(), &UNSYNCED),
            reads,
            transactions: Sessions::of_transactions(link.clone(), room.transactions, prepare),
            prepares,
            begin: begin(lease, link.bounced),
            lease,
            time: Arc::new(ToldTime(Mutex::new((
                Timestamp::UNIX_EPOCH,
                Instant::now(),
            )))),
        }
    }

    fn transaction(&self, open: Open) -> PostgresTransaction {
        let (time, feed) = (Arc::clone(&self.time), Arc::clone(&self.feed));
        PostgresTransaction::new(
            open,
            self.schema.clone(),
            self.prepares,
            self.lease,
            time,
            feed,
        )
    }

    /// Notes the server's time, and returns the latest that it told. If its clock was set back,
    /// time goes on from there.
    async fn told(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        let latest = self.time.tell(now);
        if now < latest && latest.duration_since(now) > BEHIND {
            Box::pin(self.set_clock(latest)).await?;
        }
        Ok(latest)
    }
}

impl ToldTime {
    /// Notes the server's time, and returns the latest that it told.
    pub(crate) fn tell(&self, now: Timestamp) -> Timestamp {
        let mut told = self.0.lock();
        if now >= told.0 {
            *told = (now, Instant::now());
        }
        told.0
    }

    /// Returns the latest of the server's times at which a write may take place that is asked for
    /// now. What the server has not told since counts from when it did.
    pub(crate) fn latest(&self) -> Timestamp {
        let (now, at) = *self.0.lock();
        let left = LATEST.saturating_sub(MARGIN);
        now.checked_add(at.elapsed() + left)
            .unwrap_or(Timestamp::MAX)
    }
}

/// What a crash of the server undoes of heartbeats and hints is made up for by the next.
const UNSYNCED: [(&str, &str); 1] = [("synchronous_commit", "off")];

/// How much an answer may be behind another that was asked for later.
const BEHIND: SignedDuration = SignedDuration::from_secs(6);

/// How much earlier than [`LATEST`] a write has to arrive: a statement may run that long.
const MARGIN: Duration = Duration::from_secs(10);

/// The bytes of the tables, with their indexes and what is stored out of line.
const SIZE: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'r'";

impl Store for PostgresStore {
    type Transaction = PostgresTransaction;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        self.read_rows(&ids).await
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        let asked = Instant::now();
        loop {
            let latest = self.time.latest();
            let statement = write::statement(&self.schema, runner, latest, &writes, false)?;
            let answer = write::Answer::of(&self.writes.rows(statement).await?)?;
            let now = self.told(answer.now).await?;
            // If the server's clock was set, it was not late.
            if !answer.in_time && asked.elapsed() < Duration::from_secs(2) {
                continue;
            }
            let written = answer.written(runner, now)?;
            let done = |write: &&Write| written.versions.contains(&write.version);
            self.feed.wrote(writes.iter().filter(done));
            return Ok(written);
        }
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.reserve_numbers(count).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        let now = self.beat_runner(runner, lease, oldest).await?;
        self.look_at_timeline().await;
        Ok(now)
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        self.retire_runner(runner, until).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        self.due_rows(limit).await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        self.remove_due_rows(limit).await
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        self.waiting_rows().await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.read_letter(id).await
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        self.read_letters(&filter).await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        self.count_open_letters().await
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.remove_closed_letters(until, limit).await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        self.read_notes(&prefix, after.as_deref(), limit).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.change_notes(&changes, &expected).await
    }

    async fn size(&self) -> Result<Option<u64>, StoreError> {
        let query = sqlx::query(SIZE).bind(self.schema.name());
        let rows = self.reads.rows(query).await?;
        Ok(Some(count(only(&rows)?)))
    }

    fn watch(&self, id: &RecordId) {
        self.feed.watch(id);
    }

    async fn changed(&self) -> Vec<RecordId> {
        self.feed.changed().await
    }

    fn works_on(&self, runtime: &Handle) -> bool {
        drives_io(runtime)
    }

    fn has_transactions(&self) -> bool {
        true
    }

    async fn begin(&self) -> Result<PostgresTransaction, StoreError> {
        let session = self.transactions.lend().await?;
        let begun = Open::begin(session, &self.begin).await;
        Ok(self.transaction(begun.map_err(of_connecting)?))
    }

    async fn read_and_begin(
        &self,
        id: RecordId,
    ) -> Result<(Rows, Option<PostgresTransaction>), StoreError> {
        match self.read_beginning(&id).await? {
            Some((rows, transaction)) => Ok((rows, Some(transaction))),
            None => Ok((self.read(vec![id]).await?, None)),
        }
    }

    async fn close(&self) {
        self.writes.close().await;
        self.keeper.close().await;
        self.feed.close().await;
        self.reads.close().await;
        self.transactions.close().await;
    }
}

/// Returns a number of rows as PostgreSQL's `LIMIT` takes it.
fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Returns a count of PostgreSQL's, which is never negative.
fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

/// Returns the first column of the first row, where a statement has at least one.
fn only<'r, T>(rows: &'r [PgRow]) -> Result<T, StoreError>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    let row = rows.first().ok_or(sqlx::Error::RowNotFound);
    row.and_then(|row| row.try_get(0)).map_err(of_statement)
}

/// Returns the error of an answer that cannot be read.
fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, error.to_string())
}

//! The rows, letters and notes on the server.

mod copy;
mod letters;
mod notes;
mod rows;
mod write;

use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use idem_runtime::ledger::shared::{Rows, Runner, Store, StoreError, Write, Written, drives_io};
use idem_runtime::ledger::{ExpectedNote, Filter, Note, NoteChange, Waiting};
use idem_runtime::protocol::{DeadLetter, DeadLetterId, RecordId};
use jiff::Timestamp;
use redis::Cmd;
use tokio::runtime::Handle;

use crate::call::{Answer, Server};
use crate::feed::Feed;
use crate::link::{Line, Link};
use crate::script::Script;

pub use copy::Page;

/// How many rows, letters or notes one script reads or removes: the server does nothing else meanwhile.
const PAGE: usize = 1_000;

/// A store on Redis or Valkey, for a [`SharedLedger`](idem_runtime::ledger::shared::SharedLedger).
///
/// [`Redis::connect`](crate::Redis::connect) makes one with its ledger. On its own it serves tests, and
/// tools that copy rows.
#[derive(Debug)]
pub struct RedisStore {
    server: Server,
    writes: Line,
    reads: Line,
    /// The connection of heartbeats, which must not wait behind a batch.
    keeper: Line,
    feed: Feed,
    /// Behind how many of the rows whose time has come the next page of them begins.
    page: AtomicUsize,
}

impl RedisStore {
    pub(crate) fn new(link: &Link, server: Server) -> Self {
        Self {
            writes: Line::new(link.clone()),
            reads: Line::new(link.clone()),
            keeper: Line::new(link.clone()),
            feed: Feed::new(link.clone(), server.tag()),
            page: AtomicUsize::new(0),
            server,
        }
    }

    async fn ask(
        &self,
        script: Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Answer, StoreError> {
        self.server.call(&self.reads, script, arguments).await
    }

    async fn change(
        &self,
        script: Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Answer, StoreError> {
        self.server.call(&self.writes, script, arguments).await
    }

    /// Removes pages until so many are removed, or none is left.
    async fn remove(
        &self,
        script: Script,
        most: usize,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let page = PAGE.min(most - removed);
            let answer = self.change(script, |command| {
                arguments(command);
                command.arg(page);
            });
            let gone = usize::try_from(answer.await?.number()?).unwrap_or(page);
            removed += gone;
            if gone < page || removed >= most {
                return Ok(removed as u64);
            }
        }
    }
}

impl Store for RedisStore {
    type Transaction = Infallible;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        self.read_rows(&ids).await
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        self.write_rows(runner, &writes).await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.reserve_numbers(count).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        _oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        self.beat_runner(runner, lease).await
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        self.retire_runner(runner, until).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        self.due_rows(limit).await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        self.remove(Script::RemoveDue, limit, |_| {}).await
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
        self.ask(Script::CountLetters, |_| {}).await?.number()
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
        self.read_notes(&prefix, after, limit).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.change_notes(&changes, &expected).await
    }

    fn watch(&self, id: &RecordId) {
        self.feed.watch(id);
    }

    async fn changed(&self) -> Vec<RecordId> {
        self.feed.changed(|| self.server.process()).await
    }

    fn works_on(&self, runtime: &Handle) -> bool {
        drives_io(runtime)
    }

    async fn close(&self) {
        self.writes.close();
        self.keeper.close();
        self.reads.close();
    }
}

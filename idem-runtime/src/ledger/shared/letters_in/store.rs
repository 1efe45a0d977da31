//! The store, as a shared ledger asks it.

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::super::store::{Rows, Runner, Store, StoreError, Write, Written};
use super::LettersIn;
use crate::ledger::{ExpectedNote, Filter, Note, NoteChange, Waiting};
use crate::protocol::{DeadLetter, DeadLetterId, RecordId};

impl<S: Store> Store for LettersIn<S> {
    type Transaction = Infallible;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        let rows = self.store.read(ids).await?;
        self.keep_those_of(&rows).await?;
        Ok(rows)
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        self.write_and_keep(runner, writes).await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.store.reserve(count).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        self.store.beat(runner, lease, oldest).await
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        self.store.retire(runner, until).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        self.catch_up().await;
        self.store.due(limit).await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        self.sweep_second(limit).await;
        self.store.remove_due(limit).await
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        self.store.waiting().await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.store.letter(id).await
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.letters(filter).await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        self.store.open_letters().await
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.store.remove_letters(until, limit).await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        self.store.notes(prefix, after, limit).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.store.write_notes(changes, expected).await
    }

    fn watch(&self, id: &RecordId) {
        self.store.watch(id);
    }

    async fn changed(&self) -> Vec<RecordId> {
        self.store.changed().await
    }

    fn works_on(&self, runtime: &Handle) -> bool {
        self.store.works_on(runtime)
    }

    async fn size(&self) -> Result<Option<u64>, StoreError> {
        self.store.size().await
    }

    async fn close(&self) {
        self.store.close().await;
        if let Err(error) = self.second.close().await {
            tracing::warn!("the second ledger of the letters: {error:#}");
        }
    }
}

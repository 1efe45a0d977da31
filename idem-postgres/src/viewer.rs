//! The ledger of a role that may only read.

use std::convert::Infallible;
use std::time::Duration;

use idem_runtime::ledger::shared::{
    Rows, Runner, Store, StoreError, StoreErrorKind, Write, Written,
};
use idem_runtime::ledger::{ExpectedNote, Filter, Note, NoteChange, Waiting};
use idem_runtime::protocol::{DeadLetter, DeadLetterId, RecordId};
use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::store::PostgresStore;

/// A store that writes nothing: it sweeps nothing, is no runner, and refuses every change. See
/// [`Postgres::viewer`](crate::Postgres::viewer).
#[derive(Debug)]
pub struct Viewer {
    pub(crate) store: PostgresStore,
    /// Why a change is refused.
    pub(crate) why: String,
}

impl Viewer {
    fn refused<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::new(StoreErrorKind::Refused, &*self.why))
    }
}

impl Store for Viewer {
    type Transaction = Infallible;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        self.store.read(ids).await
    }

    fn works_on(&self, runtime: &Handle) -> bool {
        self.store.works_on(runtime)
    }

    async fn write(&self, _: &Runner, _: Vec<Write>) -> Result<Written, StoreError> {
        self.refused()
    }

    async fn reserve(&self, _: u64) -> Result<u64, StoreError> {
        self.refused()
    }

    async fn beat(&self, _: &Runner, _: Duration, _: u64) -> Result<Timestamp, StoreError> {
        // It holds no claims that others would have to know of.
        Ok(self.store.read(Vec::new()).await?.now)
    }

    async fn retire(&self, _: &Runner, _: Option<Timestamp>) -> Result<bool, StoreError> {
        self.refused()
    }

    async fn due(&self, _: usize) -> Result<Vec<RecordId>, StoreError> {
        Ok(Vec::new())
    }

    async fn remove_due(&self, _: usize) -> Result<u64, StoreError> {
        Ok(0)
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

    async fn remove_letters(&self, _: Timestamp, _: usize) -> Result<u64, StoreError> {
        Ok(0)
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
        _: Vec<NoteChange>,
        _: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.refused()
    }

    async fn size(&self) -> Result<Option<u64>, StoreError> {
        self.store.size().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

//! The store that is written: asked again while it is away, in the name of a runner of its own.

use std::cell::RefCell;
use std::time::Duration;

use idem_runtime::ledger::shared::{Row, Runner, Store, StoreError, StoreErrorKind, Write};
use idem_runtime::ledger::{ExpectedNote, Note, NoteChange};
use idem_runtime::protocol::{DeadLetter, DeadLetterId, RecordId};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::problem::Problem;

/// The beginning of the runner's name.
pub(super) const NAME: &str = "idem migrate/";
/// How long the runner lives after a beat. It holds no claim, so nothing waits for it.
const LEASE: Duration = Duration::from_secs(60);
/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a store may be away.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// A store, and the runner that writes to it.
pub(super) struct Target<'a, S> {
    store: &'a S,
    runner: RefCell<Option<(Runner, Instant)>>,
}

impl<'a, S: Store> Target<'a, S> {
    pub(super) fn new(store: &'a S) -> Self {
        Self {
            store,
            runner: RefCell::new(None),
        }
    }

    /// Makes those writes whose rows are not there, and returns their versions.
    pub(super) async fn write(&self, writes: &[Write]) -> Result<Vec<u64>, Problem> {
        loop {
            let runner = self.living().await?;
            let written =
                self.try_asking(async || self.store.write(&runner, writes.to_vec()).await);
            match written.await {
                Ok(written) => return Ok(written.versions),
                Err(error) if error.kind == StoreErrorKind::RunnerDead => self.runner.replace(None),
                Err(error) => return Err(failed(&error)),
            };
        }
    }

    pub(super) async fn rows(&self, ids: Vec<RecordId>) -> Result<Vec<Option<Row>>, Problem> {
        let rows = self
            .ask(async || self.store.read(ids.clone()).await)
            .await?
            .rows;
        let rows = rows.into_iter().map(|row| {
            row.map_err(|error| Problem::failed(format!("a row cannot be read: {error}")))
        });
        rows.collect()
    }

    pub(super) async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, Problem> {
        self.ask(async || self.store.letter(id).await).await
    }

    pub(super) async fn open_letters(&self) -> Result<u64, Problem> {
        self.ask(async || self.store.open_letters().await).await
    }

    pub(super) async fn reserve(&self, count: u64) -> Result<u64, Problem> {
        // A reservation whose answer was lost would be taken for a service's.
        match timeout(DEADLINE, self.store.reserve(count)).await {
            Ok(answer) => answer.map_err(|error| failed(&error)),
            Err(_) => Err(failed(&too_late())),
        }
    }

    pub(super) async fn notes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Note>, Problem> {
        let after = after.map(str::to_owned);
        self.ask(async || self.store.notes(String::new(), after.clone(), limit).await)
            .await
    }

    pub(super) async fn note(&self, key: &str) -> Result<Option<Vec<u8>>, Problem> {
        let notes = self.ask(async || self.store.notes(key.to_owned(), None, 1).await);
        let note = notes.await?.pop().filter(|note| note.key == key);
        Ok(note.map(|note| note.value))
    }

    pub(super) async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, Problem> {
        self.ask(async || {
            self.store
                .write_notes(changes.clone(), expected.clone())
                .await
        })
        .await
    }

    /// Says that no more comes.
    pub(super) async fn close(&self) {
        let runner = self.runner.take();
        if let Some((runner, _)) = runner {
            // It lapses by itself, too.
            let _ = timeout(DEADLINE, self.store.retire(&runner, None)).await;
        }
    }

    /// Returns the runner once it is known to live.
    async fn living(&self) -> Result<Runner, Problem> {
        loop {
            let known = self.runner.borrow().clone();
            if let Some((runner, beaten)) = &known
                && beaten.elapsed() < LEASE / 3
            {
                return Ok(Runner::clone(runner));
            }
            let name = || format!("{NAME}{}", Uuid::new_v4()).into();
            let runner: Runner = known.map_or_else(name, |(runner, _)| runner);
            let asked = Instant::now();
            let beat = self.try_asking(async || self.store.beat(&runner, LEASE, 0).await);
            match beat.await {
                Ok(_) => drop(self.runner.replace(Some((runner, asked)))),
                Err(error) if error.kind == StoreErrorKind::RunnerDead => {
                    drop(self.runner.replace(None));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    async fn ask<T>(&self, call: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, Problem> {
        self.try_asking(call).await.map_err(|error| failed(&error))
    }

    /// Asks until there is an answer that would not be another one in a moment. Every call may be
    /// made twice.
    async fn try_asking<T>(
        &self,
        call: impl AsyncFn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let since = Instant::now();
        loop {
            let answer = timeout(DEADLINE, call()).await;
            match answer.unwrap_or_else(|_| Err(too_late())) {
                Err(error)
                    if matches!(error.kind, StoreErrorKind::Away | StoreErrorKind::Lost)
                        && since.elapsed() < PATIENCE =>
                {
                    sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

fn too_late() -> StoreError {
    let message = format!("no answer within {} s", DEADLINE.as_secs());
    StoreError::new(StoreErrorKind::Lost, message)
}

fn failed(error: &StoreError) -> Problem {
    match error.kind {
        StoreErrorKind::Away | StoreErrorKind::Lost => Problem::unreachable(format!(
            "the target does not answer ({error:#}): run this again when it does; it goes on where it was"
        )),
        _ => Problem::failed(format!("the target refused: {error:#}")),
    }
}

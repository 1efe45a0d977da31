//! A server's ledger as the target: asked again while it is away, in the name of a runner of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use idem_runtime::ledger::shared::{
    LetterWrite, Row, Runner, Store, StoreError, StoreErrorKind, Write, first_write,
};
use idem_runtime::ledger::{ExpectedNote, Import, Imported, Note, NoteChange, unnotified_key};
use idem_runtime::protocol::{Record, RecordId};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::target::Target;
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

/// How often a row is written that was there, and was gone when it was read.
const TRIES: usize = 3;

/// A store, and the runner that writes to it.
pub(super) struct SharedTarget<'a, S> {
    store: &'a S,
    elsewhere: &'static str,
    runner: RefCell<Option<(Runner, Instant)>>,
}

impl<S: Store> Target for SharedTarget<'_, S> {
    const IS_HELD: bool = false;

    fn elsewhere(&self) -> &'static str {
        self.elsewhere
    }

    async fn write(&self, items: Vec<Import>, first: u64) -> Result<Vec<Imported>, Problem> {
        let writes = (first..)
            .zip(items)
            .map(|(number, item)| write_of(item, number));
        let mut left: Vec<Write> = writes.collect::<Result<_, _>>()?;
        let (count, mut came) = (left.len(), HashMap::new());
        for _ in 0..TRIES {
            if left.is_empty() {
                break;
            }
            let versions = self.write_rows(&left).await?;
            left.retain(|write| !versions.contains(&write.version));
            came.extend(
                versions
                    .into_iter()
                    .map(|version| (version, Imported::Written)),
            );
            let there = self.compare(&left).await?;
            left.retain(|write| !there.contains_key(&write.version));
            came.extend(there);
        }
        if let Some(write) = left.first() {
            return Err(Problem::failed(format!(
                "the row of {} comes and goes",
                write.id
            )));
        }
        let in_order = (first..).take(count);
        Ok(in_order.filter_map(|number| came.remove(&number)).collect())
    }

    async fn reserve(&self, count: u64) -> Result<u64, Problem> {
        // A reservation whose answer was lost would be taken for a service's.
        match timeout(DEADLINE, self.store.reserve(count)).await {
            Ok(answer) => answer.map_err(|error| failed(&error)),
            Err(_) => Err(failed(&too_late())),
        }
    }

    async fn open_letters(&self) -> Result<u64, Problem> {
        self.ask(async || self.store.open_letters().await).await
    }

    async fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Note>, Problem> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.ask(async || self.store.notes(prefix.clone(), after.clone(), limit).await)
            .await
    }

    async fn write_notes(
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

    async fn close(&self) -> Result<(), Problem> {
        let runner = self.runner.take();
        if let Some((runner, _)) = runner {
            // It lapses by itself, too.
            let _ = timeout(DEADLINE, self.store.retire(&runner, None)).await;
        }
        Ok(())
    }
}

impl<'a, S: Store> SharedTarget<'a, S> {
    /// Returns a store as the target. `elsewhere` says where to find another one.
    pub(super) fn new(store: &'a S, elsewhere: &'static str) -> Self {
        Self {
            store,
            elsewhere,
            runner: RefCell::new(None),
        }
    }

    /// Looks at the rows of writes that did not take place. A row that is there no more is left out.
    async fn compare(&self, writes: &[Write]) -> Result<HashMap<u64, Imported>, Problem> {
        let mut came = HashMap::new();
        if writes.is_empty() {
            return Ok(came);
        }
        let ids = writes.iter().map(|write| write.id.clone());
        let rows = self.rows(ids.collect()).await?;
        for (write, row) in writes.iter().zip(rows) {
            let Some(row) = row else { continue };
            let record = row.record.as_ref().map(Record::encode).transpose();
            let mut is_same = record.is_ok_and(|record| record == write.record);
            if let Some(LetterWrite { letter, .. }) = &write.letter
                && is_same
            {
                let there = self.ask(async || self.store.letter(letter.id).await);
                is_same = there.await?.as_ref() == Some(&**letter);
            }
            let what = if is_same {
                Imported::Same
            } else {
                Imported::Conflict
            };
            came.insert(write.version, what);
        }
        Ok(came)
    }

    /// Makes those writes whose rows are not there, and returns their versions.
    async fn write_rows(&self, writes: &[Write]) -> Result<Vec<u64>, Problem> {
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

    async fn rows(&self, ids: Vec<RecordId>) -> Result<Vec<Option<Row>>, Problem> {
        let rows = self
            .ask(async || self.store.read(ids.clone()).await)
            .await?
            .rows;
        let rows = rows.into_iter().map(|row| {
            row.map_err(|error| Problem::failed(format!("a row cannot be read: {error}")))
        });
        rows.collect()
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

/// A letter is written with a row, so one without a record has a row of its own for a while.
fn write_of(item: Import, number: u64) -> Result<Write, Problem> {
    let Import { record, letter } = item;
    let mut write = match record {
        Some((id, record)) => {
            let write = first_write(id, number, &record);
            let mut write = write.map_err(|error| Problem::failed(error.to_string()))?;
            let told = letter
                .iter()
                .map(|letter| NoteChange::put(unnotified_key(letter.id), []));
            write.notes.extend(told);
            write
        }
        None => {
            let name = letter.as_ref().map(|letter| letter.id.to_string());
            let id = RecordId::new("idem/migration", name.unwrap_or_default());
            Write {
                // The first sweep of a service removes it.
                due: letter.as_ref().map(|letter| letter.died_at),
                ..Write::new(id, None, number)
            }
        }
    };
    write.letter = letter.map(|letter| LetterWrite {
        letter: Box::new(letter),
        is_new: true,
    });
    Ok(write)
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

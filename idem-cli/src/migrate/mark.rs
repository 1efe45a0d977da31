//! The marks that a migration leaves in its target: which ledger it is of, and how far it has come; and
//! that no service may open it yet.

use idem_runtime::ledger::{ExpectedNote, NoteChange, UNFINISHED_MIGRATION};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::source::Stopped;
use super::target::Target;
use crate::problem::Problem;

pub(super) const KEY: &str = "migration/from-folder";

/// The mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The source's name for itself. The first migrations were from folders.
    #[serde(rename = "folder")]
    pub(super) source: String,
    /// The source's last write when the migration began. A service that opens it makes another.
    pub(super) write: u64,
    /// When the migration began, by which its records are judged.
    pub(super) since: Timestamp,
    /// How many numbers each run reserves.
    numbers: u64,
    /// The first number that the next run gets, unless others use the target.
    next: u64,
    /// The runs that have begun since `next` was written down: their reservations may have been made.
    runs: u64,
    /// When it was all there.
    pub(super) done: Option<Timestamp>,
}

impl Mark {
    /// Returns a mark of a migration that begins. `numbers` is what each run reserves.
    pub(super) fn new(source: &impl Stopped, since: Timestamp, numbers: u64) -> Self {
        Self {
            source: source.name(),
            write: source.last_write(),
            since,
            numbers,
            next: 1,
            runs: 0,
            done: None,
        }
    }

    pub(super) async fn read(target: &impl Target) -> Result<Option<Self>, Problem> {
        let value = target.note(KEY).await?;
        value.map(|value| Self::decode(&value)).transpose()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(value).map_err(|_| {
            Problem::failed("a newer `idem` has migrated into this ledger: use that one")
        })
    }

    /// Checks that it is of this source as it is.
    ///
    /// # Errors
    /// When the target has another ledger's contents, or the source was used since.
    pub(super) fn check(&self, source: &impl Stopped) -> Result<(), Problem> {
        let text = if self.source != source.name() {
            "another ledger was migrated into this one: migrate each into one of its own".to_owned()
        } else if self.write != source.last_write() {
            match self.done {
                Some(done) => format!(
                    "the source was used since it was migrated at {done:.0}, by a service or by `idem`, and what \
                     came of that is not in the target: let services use the target only, or migrate \
                     into an empty one"
                ),
                None => format!(
                    "the source was used since its migration began at {:.0}, by a service or by `idem`: empty \
                     the target, which the migration has begun to fill, and begin again",
                    self.since
                ),
            }
        } else {
            return Ok(());
        };
        Err(Problem::failed(text))
    }

    /// Reserves the run's numbers, and returns the first. `alone` fails if a service is at work.
    ///
    /// # Errors
    /// When others have reserved numbers: a service uses the target. If no run has copied anything,
    /// the target is as it was.
    pub(super) async fn begin_run<T: Target>(
        &mut self,
        target: &T,
        alone: impl AsyncFnOnce() -> Result<(), Problem>,
    ) -> Result<u64, Problem> {
        let has_copied = self.next > 1;
        let before = (has_copied || self.runs > 0).then(|| self.clone());
        self.runs += 1;
        // First the intent: a run that is killed next leaves no reservation that cannot be told from
        // a service's.
        self.write(target, before.as_ref()).await?;
        // A service that opens from here on finds the mark; one that opened before is found.
        if let Err(used) = alone().await {
            if !has_copied {
                self.remove(target).await?;
            }
            return Err(used);
        }
        let first = target.reserve(self.numbers).await?;
        let is_runs = (0..self.runs).any(|run| first == self.next + run * self.numbers);
        // Where the target is held, none but runs that copied have used it since it was marked.
        let ours = is_runs || (T::IS_HELD && has_copied);
        if !ours {
            if !has_copied {
                self.remove(target).await?;
            }
            return Err(Problem::failed(if has_copied {
                "a service has used the target before the migration was done: stop the services, empty \
                 it, and begin again"
                    .to_owned()
            } else {
                format!(
                    "a service has used the target: migrate into an empty one, {}, before services use it",
                    target.elsewhere()
                )
            }));
        }
        let before = self.clone();
        (self.next, self.runs) = (first + self.numbers, 0);
        self.write(target, Some(&before)).await?;
        Ok(first)
    }

    /// Notes that all is there.
    pub(super) async fn finish(
        &mut self,
        target: &impl Target,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let before = self.clone();
        self.done = Some(now);
        self.write(target, Some(&before)).await
    }

    async fn write(&self, target: &impl Target, before: Option<&Self>) -> Result<(), Problem> {
        let expected = match before {
            Some(before) => ExpectedNote::value(KEY, before.bytes()?),
            None => ExpectedNote::absent(KEY),
        };
        let unfinished = match self.done {
            None => NoteChange::put(UNFINISHED_MIGRATION, []),
            Some(_) => NoteChange::delete(UNFINISHED_MIGRATION),
        };
        let changes = vec![NoteChange::put(KEY, self.bytes()?), unfinished];
        if target.write_notes(changes, vec![expected]).await? {
            return Ok(());
        }
        // The answer to the first asking may have been lost.
        if Self::read(target).await?.as_ref() == Some(self) {
            return Ok(());
        }
        Err(Problem::failed(
            "another `idem migrate` works on this target: let it end, then run this one again",
        ))
    }

    async fn remove(&self, target: &impl Target) -> Result<(), Problem> {
        let expected = ExpectedNote::value(KEY, self.bytes()?);
        let changes = [KEY, UNFINISHED_MIGRATION].map(NoteChange::delete);
        let removed = target.write_notes(changes.into(), vec![expected]).await;
        removed.map(drop)
    }

    fn bytes(&self) -> Result<Vec<u8>, Problem> {
        Ok(serde_json::to_vec(self)?)
    }
}

//! A folder as the target. It is held, so that no service can use it meanwhile.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use idem_runtime::clock::SystemClock;
use idem_runtime::ledger::{
    Engine, ExpectedNote, FjallStore, Import, ImportLedger, Imported, Ledger, LedgerError, Note,
    NoteChange,
};

use super::from_folder::{hold, note, refused};
use super::mark::{KEY, Mark};
use super::target::Target;
use crate::problem::Problem;
use crate::target::{CACHE, OpenError, stays_theirs};

/// Returns the mark that an earlier run has left in a folder. Nothing is written.
pub(super) fn mark(path: &Path) -> Result<Option<Mark>, Problem> {
    // Where there is none, an earlier run was cut off before it left a mark.
    if !path.join("witness").exists() {
        return Ok(None);
    }
    let folder = hold(path)?;
    let mark = note(&folder, KEY)?;
    mark.map(|mark| Mark::decode(&mark)).transpose()
}

/// Where a folder is to be found that no service uses.
pub(super) const ELSEWHERE: &str = "in another folder";

/// Returns the engine of a folder that is to be filled: its own, or the one that was asked for.
pub(super) fn engine(path: &Path, asked: Option<Engine>) -> Engine {
    asked.or_else(|| Engine::of(path)).unwrap_or_default()
}

/// Holds a folder on sled that is to be filled, and makes it where there is none.
pub(super) fn fill(path: &Path) -> Result<ImportLedger, Problem> {
    is_ours(path)?;
    ImportLedger::open(path, CACHE).map_err(|error| refused(OpenError::Ledger(error)))
}

/// Holds a folder on fjall that is to be filled, and makes it where there is none.
pub(super) fn fill_on_fjall(path: &Path) -> Result<FjallStore, Problem> {
    is_ours(path)?;
    let store = FjallStore::open(path, CACHE, Arc::new(SystemClock));
    store.map_err(|error| refused(OpenError::Ledger(error)))
}

fn is_ours(path: &Path) -> Result<(), Problem> {
    match fs::metadata(path) {
        Ok(found) => stays_theirs(path, &found).map_err(OpenError::into_problem),
        Err(_) => Ok(()),
    }
}

impl Target for ImportLedger {
    const IS_HELD: bool = true;

    fn elsewhere(&self) -> &'static str {
        ELSEWHERE
    }

    async fn write(&self, items: Vec<Import>, _: u64) -> Result<Vec<Imported>, Problem> {
        let written = self.take_over(items, 0).await;
        written.map(|(_, came)| came).map_err(failed)
    }

    async fn reserve(&self, count: u64) -> Result<u64, Problem> {
        let reserved = self.take_over(Vec::new(), count).await;
        reserved.map(|(first, _)| first).map_err(failed)
    }

    async fn open_letters(&self) -> Result<u64, Problem> {
        Ledger::open_letters(&**self).await.map_err(failed)
    }

    async fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Note>, Problem> {
        let notes = Ledger::notes(&**self, prefix, after, limit);
        notes.await.map_err(failed)
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, Problem> {
        let written = Ledger::write_notes(&**self, changes, expected);
        written.await.map_err(failed)
    }

    async fn close(&self) -> Result<(), Problem> {
        Ledger::close(&**self).await.map_err(failed)
    }
}

fn failed(error: LedgerError) -> Problem {
    let (what, fix) = OpenError::Ledger(error).says();
    Problem::failed(format!(
        "the target: {what}: {fix}. Then run this again; it goes on where it was"
    ))
}

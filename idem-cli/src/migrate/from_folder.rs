//! A folder as the source. It is held, so that no service can use it meanwhile.

use std::path::Path;

use futures_util::stream::{self, StreamExt};
use idem_runtime::ledger::{LedgerError, Note, StoppedLedger, StoppedRecord};
use idem_runtime::protocol::DeadLetter;

use super::source::{Items, Stopped, unless_unreadable};
use crate::problem::Problem;
use crate::target::{OpenError, stopped};

impl Stopped for StoppedLedger {
    fn name(&self) -> String {
        self.name()
    }

    fn last_write(&self) -> u64 {
        self.last_write()
    }

    fn last_number(&self) -> u64 {
        self.last_number()
    }

    fn records(&self) -> Items<'_, StoppedRecord> {
        let records = self.records();
        stream::iter(records.map(|read| unless_unreadable(read, cannot_read))).boxed_local()
    }

    fn letters(&self) -> Items<'_, DeadLetter> {
        let letters = self.letters();
        stream::iter(letters.map(|read| unless_unreadable(read, cannot_read))).boxed_local()
    }

    async fn notes(&self, after: Option<&str>, limit: usize) -> Result<Vec<Note>, Problem> {
        self.notes(after, limit)
            .map_err(|error| cannot_read(&error))
    }

    async fn check_unused(&self) -> Result<(), Problem> {
        Ok(())
    }
}

/// Holds a folder that no service uses.
pub(super) fn hold(path: &Path) -> Result<StoppedLedger, Problem> {
    stopped(path).map_err(refused)
}

/// Says why a folder was not opened.
pub(super) fn refused(error: OpenError) -> Problem {
    match error.held() {
        false => error.into_problem(),
        true => Problem::unreachable(format!(
            "{}: stop the service that holds it, or let another `idem` end",
            error.says().0
        )),
    }
}

/// Reads a note.
pub(super) fn note(folder: &StoppedLedger, key: &str) -> Result<Option<Vec<u8>>, Problem> {
    folder.note(key).map_err(|error| cannot_read(&error))
}

fn cannot_read(error: &LedgerError) -> Problem {
    Problem::failed(format!(
        "the folder cannot be read ({error}): look at it with `idem doctor --data`"
    ))
}

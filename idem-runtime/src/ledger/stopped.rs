//! A folder that no process holds, read as it is, so that another ledger can take its contents over.

use std::path::Path;

#[cfg(feature = "fjall")]
use super::fjall::StoppedFjall;
#[cfg(feature = "sled")]
use super::sled::StoppedSled;
use super::{Engine, LedgerError, Note};
use crate::protocol::{DeadLetter, Record, RecordId};

/// The contents of a folder that no process holds, on either engine. They stay as they are, and the folder is
/// held until this is dropped.
pub struct StoppedLedger(On);

enum On {
    #[cfg(feature = "sled")]
    Sled(Box<StoppedSled>),
    #[cfg(feature = "fjall")]
    Fjall(Box<StoppedFjall>),
}

/// A record, and its id unless the folder has only its hash: of a settled one with a long key.
pub type StoppedRecord = (Option<RecordId>, Record);

/// Calls a method on either engine.
macro_rules! on {
    ($self:ident, $stopped:ident => $call:expr) => {
        match &$self.0 {
            #[cfg(feature = "sled")]
            On::Sled($stopped) => $call,
            #[cfg(feature = "fjall")]
            On::Fjall($stopped) => $call,
        }
    };
}

impl StoppedLedger {
    /// Holds a folder. `cache_bytes` is the size of the engine's cache.
    ///
    /// # Errors
    /// As [`IdemBuilder::open`](crate::IdemBuilder::open), and when there is no witness of what was
    /// acknowledged.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        let on = match Engine::of(path).unwrap_or_default() {
            #[cfg(feature = "sled")]
            Engine::Sled => On::Sled(Box::new(StoppedSled::open(path, cache_bytes)?)),
            #[cfg(feature = "fjall")]
            Engine::Fjall => On::Fjall(Box::new(StoppedFjall::open(path, cache_bytes)?)),
            #[cfg(not(all(feature = "sled", feature = "fjall")))]
            other => return Err(other.is_not_built()),
        };
        Ok(Self(on))
    }

    /// Returns a name that no other folder has, except for copies of it.
    pub fn name(&self) -> String {
        on!(self, stopped => stopped.name())
    }

    /// Returns the number of its last write. Every opening by a service is one.
    pub fn last_write(&self) -> u64 {
        on!(self, stopped => stopped.last_write())
    }

    /// Returns the last number that it gave out: as a fencing token or a note's number.
    pub fn last_number(&self) -> u64 {
        on!(self, stopped => stopped.last_number())
    }

    /// Returns its records, in no order. One that cannot be read is an error of its own
    /// ([`LedgerError::Record`]); any other error is the last.
    pub fn records(&self) -> Box<dyn Iterator<Item = Result<StoppedRecord, LedgerError>> + '_> {
        on!(self, stopped => Box::new(stopped.records()))
    }

    /// Returns its letters, open and closed. Errors are as of [`records`](Self::records).
    pub fn letters(&self) -> Box<dyn Iterator<Item = Result<DeadLetter, LedgerError>> + '_> {
        on!(self, stopped => Box::new(stopped.letters()))
    }

    /// Returns up to `limit` notes behind a key.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn notes(&self, after: Option<&str>, limit: usize) -> Result<Vec<Note>, LedgerError> {
        on!(self, stopped => stopped.notes(after, limit))
    }

    /// Returns the value of a note.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn note(&self, key: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        on!(self, stopped => stopped.note(key))
    }
}

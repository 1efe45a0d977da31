//! A folder that takes over what another ledger has kept.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::SledLedger;
use super::job::Job;
use super::layout::note_key;
use super::store::Store;
use crate::clock::SystemClock;
use crate::ledger::LedgerError;
use crate::ledger::unfinished::{NOT_ALL_IS_THERE, UNFINISHED_MIGRATION};
use crate::protocol::{DeadLetter, Record, RecordId};

/// A folder that `idem migrate` fills. While the note of an unfinished migration is in it, nothing else
/// opens it.
pub struct ImportLedger(SledLedger);

/// What another ledger has kept: a record, a letter, or a record and the letter that it is dead with. People
/// are told of the letter of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The record.
    pub record: Option<(RecordId, Record)>,
    /// The letter.
    pub letter: Option<DeadLetter>,
}

/// What came of one that was to be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It was written.
    Written,
    /// It was there.
    Same,
    /// Something else was there, and stays.
    Conflict,
}

impl Imported {
    pub(super) fn found(is_same: bool) -> Self {
        if is_same { Self::Same } else { Self::Conflict }
    }
}

impl ImportLedger {
    /// Opens a folder, or creates one. `cache_bytes` is the size of sled's cache.
    ///
    /// # Errors
    /// As [`SledLedger::open`], except that a migration into it may be unfinished.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        let (clock, instance) = (Arc::new(SystemClock), "idem migrate".to_owned());
        SledLedger::open_for(Purpose::Import, path, cache_bytes, clock, instance).map(Self)
    }

    /// Writes each of these where there is nothing, and sets `numbers` aside. Returns the first of those
    /// numbers, and what came of each item.
    ///
    /// # Errors
    /// When they may not be durable. To ask again is safe.
    pub async fn take_over(
        &self,
        items: Vec<Import>,
        numbers: u64,
    ) -> Result<(u64, Vec<Imported>), LedgerError> {
        let (done, answer) = oneshot::channel();
        let job = Job::Import {
            items,
            numbers,
            done,
        };
        self.shared.enqueue(job, answer).answer().await
    }
}

/// Why a folder is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To answer calls.
    Service,
    /// To take over what another ledger has kept.
    Import,
}

impl Purpose {
    /// Checks that a migration into the folder is finished, unless this is one.
    pub(super) fn allows(self, store: &Store, path: &Path) -> Result<(), LedgerError> {
        let mark = note_key(UNFINISHED_MIGRATION);
        if self == Self::Import || store.raw(&mark)?.is_none() {
            return Ok(());
        }
        Err(LedgerError::Refused {
            message: format!("`{}`: {NOT_ALL_IS_THERE}", path.display()),
            source: None,
        })
    }
}

impl Deref for ImportLedger {
    type Target = SledLedger;

    fn deref(&self) -> &SledLedger {
        &self.0
    }
}

//! What the callers and the writer share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};

use super::db::Db;
use super::owned::{Owned, Runners};
use crate::clock::Clock;
use crate::failpoint;
use crate::ledger::LedgerError;
use crate::ledger::folder::Folder;
use crate::ledger::folder::health::Health;
use crate::ledger::shared::{StoreError, StoreErrorKind};

pub(super) struct Shared {
    /// The process that opened it: a fork has none of its threads.
    pub(super) process: u32,
    pub(super) folder: Folder,
    pub(super) cache_bytes: u64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: RwLock<Health<Db>>,
    pub(super) runners: Mutex<Runners>,
    pub(super) owned: Mutex<Owned>,
    pub(super) open_letters: AtomicU64,
    pub(super) told: Mutex<Told>,
    /// Where the next page of rows that are due begins.
    pub(super) page: Mutex<Option<Vec<u8>>>,
}

/// The time that was told last, and how far it is ahead of the clock, which has stepped back.
#[derive(Default)]
pub(super) struct Told {
    time: Timestamp,
    ahead: SignedDuration,
}

impl Shared {
    /// Checks that this is the process that opened it.
    pub(super) fn is_here(&self) -> Result<(), LedgerError> {
        match failpoint::process() == self.process {
            true => Ok(()),
            false => Err(LedgerError::Forked {
                opened_by: self.process,
            }),
        }
    }

    /// Returns the time, which does not go back.
    pub(super) fn now(&self) -> Timestamp {
        let (mut told, clock) = (self.told.lock(), self.clock.now());
        let now = clock.saturating_add(told.ahead).unwrap_or(Timestamp::MAX);
        if now < told.time {
            told.ahead = told.time.duration_since(clock);
        } else {
            told.time = now;
        }
        told.time
    }

    /// Reads what is durable.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Db) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let found = self.health.read().readable().and_then(read);
        if let Err(error @ LedgerError::Poisoned { .. }) = &found {
            self.health.write().fail(error.clone());
        }
        found
    }
}

/// Returns the error of a store that was refused something.
pub(super) fn refused(error: LedgerError, maybe_written: bool) -> StoreError {
    let kind = match &error {
        _ if maybe_written => StoreErrorKind::Lost,
        LedgerError::Io { .. } => StoreErrorKind::Away,
        LedgerError::Record { .. } | LedgerError::Closed | LedgerError::Other(_) => {
            StoreErrorKind::Refused
        }
        _ => StoreErrorKind::Stopped,
    };
    StoreError::new(kind, error.to_string()).source(error)
}

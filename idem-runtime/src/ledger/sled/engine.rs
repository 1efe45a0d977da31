//! The state of sled: open, readable after a refused write, or unusable.

use super::store::Store;
use crate::ledger::LedgerError;

/// The state of sled.
pub(super) enum Engine {
    Open(Store),
    /// A write was refused with this error. Settled records that were durable can still be read;
    /// the next write opens sled again.
    Refused(LedgerError, Option<Store>),
    /// It panicked, a write or a sync failed, or the folder is gone. The ledger answers nothing
    /// until the process restarts.
    Poisoned(LedgerError),
    Closed,
}

impl Engine {
    /// Returns sled, if everything in it is durable or about to be.
    pub(super) fn open(&self) -> Result<&Store, LedgerError> {
        match self {
            Engine::Open(store) => Ok(store),
            Engine::Refused(error, _) => Err(not_durable(error)),
            Engine::Poisoned(error) => Err(error.clone()),
            Engine::Closed => Err(LedgerError::Closed),
        }
    }

    /// Returns sled, if durable records can be read from it.
    pub(super) fn readable(&self) -> Result<&Store, LedgerError> {
        match self {
            Engine::Refused(_, Some(store)) => Ok(store),
            other => other.open(),
        }
    }

    pub(super) fn fail(&mut self, error: LedgerError) {
        let store = match std::mem::replace(self, Engine::Closed) {
            Engine::Open(store) | Engine::Refused(_, Some(store)) => Some(store),
            _ => None,
        };
        *self = if error.is_final() {
            if let Some(store) = store {
                store.abandon();
            }
            Engine::Poisoned(error)
        } else {
            Engine::Refused(error, store)
        };
    }

    /// Closes a store that was refused a write, so that it can be opened again.
    pub(super) fn let_go(&mut self) {
        if let Engine::Refused(_, store) = self {
            *store = None;
        }
    }
}

/// Returns the error of a read while a write is refused: what is in memory may not be on the disk.
pub(super) fn not_durable(error: &LedgerError) -> LedgerError {
    let until =
        |reason: &str| format!("{reason}; new records cannot be shown until they can be written");
    match error {
        LedgerError::Full { path, reason } => LedgerError::Full {
            path: path.clone(),
            reason: until(reason),
        },
        LedgerError::Io { path, reason } => LedgerError::Io {
            path: path.clone(),
            reason: until(reason),
        },
        other => other.clone(),
    }
}

//! What may be asked of sled: all, only what was durable before a refused write, or nothing any
//! more.

use super::store::Store;
use crate::ledger::LedgerError;

/// Whether sled can be asked.
pub(super) enum Engine {
    Open(Store),
    /// A write was refused, and why. Settled records that were durable can still be read; the next
    /// write opens it again.
    Refused(LedgerError, Option<Store>),
    /// It panicked, a write or a sync failed, or the folder is gone: nothing is answered until the
    /// process starts again.
    Poisoned(LedgerError),
    Closed,
}

impl Engine {
    /// sled, where all that it shows is durable or about to be.
    pub(super) fn open(&self) -> Result<&Store, LedgerError> {
        match self {
            Engine::Open(store) => Ok(store),
            Engine::Refused(error, _) => Err(not_durable(error)),
            Engine::Poisoned(error) => Err(error.clone()),
            Engine::Closed => Err(LedgerError::Closed),
        }
    }

    /// sled, where what was durable can be read.
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

    /// Closes what was refused a write, to be opened again.
    pub(super) fn let_go(&mut self) {
        if let Engine::Refused(_, store) = self {
            *store = None;
        }
    }
}

/// What who reads is told while a write is refused: what is in memory may not be on the disk.
pub(super) fn not_durable(error: &LedgerError) -> LedgerError {
    let until =
        |reason: &str| format!("{reason}; what is new cannot be shown until it can be written");
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

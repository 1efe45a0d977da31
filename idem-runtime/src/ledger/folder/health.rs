//! The health of an engine: open, readable after a refused write, or unusable.

use crate::ledger::LedgerError;

/// An open engine that can be given up.
pub(in crate::ledger) trait Abandon {
    /// Lets go of it without its clean-up.
    fn abandon(self);
}

/// The health of an engine.
pub(in crate::ledger) enum Health<S> {
    Open(S),
    /// A write was refused with this error. Settled records that were durable can still be read;
    /// the next write opens the engine again.
    Refused(LedgerError, Option<S>),
    /// It panicked, a write or a sync failed, or the folder is gone. The ledger answers nothing
    /// until the process restarts.
    Poisoned(LedgerError),
    Closed,
}

impl<S: Abandon> Health<S> {
    /// Returns the engine, if everything in it is durable or about to be.
    pub(in crate::ledger) fn open(&self) -> Result<&S, LedgerError> {
        match self {
            Self::Open(store) => Ok(store),
            Self::Refused(error, _) => Err(not_durable(error)),
            Self::Poisoned(error) => Err(error.clone()),
            Self::Closed => Err(LedgerError::Closed),
        }
    }

    /// Returns the engine, if durable records can be read from it.
    pub(in crate::ledger) fn readable(&self) -> Result<&S, LedgerError> {
        match self {
            Self::Refused(_, Some(store)) => Ok(store),
            other => other.open(),
        }
    }

    /// Returns whether the engine has to be opened again before it is written to.
    pub(in crate::ledger) fn must_open_again(&self) -> Result<bool, LedgerError> {
        match self {
            Self::Open(_) => Ok(false),
            Self::Refused(..) => Ok(true),
            Self::Poisoned(error) => Err(error.clone()),
            Self::Closed => Err(LedgerError::Closed),
        }
    }

    pub(in crate::ledger) fn fail(&mut self, error: LedgerError) {
        let store = match std::mem::replace(self, Self::Closed) {
            Self::Open(store) | Self::Refused(_, Some(store)) => Some(store),
            _ => None,
        };
        *self = if error.is_final() {
            if let Some(store) = store {
                store.abandon();
            }
            Self::Poisoned(error)
        } else {
            Self::Refused(error, store)
        };
    }

    /// Closes a store that was refused a write, so that it can be opened again.
    pub(in crate::ledger) fn let_go(&mut self) {
        if let Self::Refused(_, store) = self {
            *store = None;
        }
    }
}

/// Returns the error of a read while a write is refused: what is in memory may not be on the disk.
pub(in crate::ledger) fn not_durable(error: &LedgerError) -> LedgerError {
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

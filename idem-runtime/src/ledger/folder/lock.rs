//! Locks on files: the data folder's own, and sled's on its log.

use std::fs::{File, TryLockError};
use std::io;

/// An exclusive lock, until it is dropped. The system releases it when the process dies.
pub(in crate::ledger) struct Lock(File);

impl Lock {
    /// Takes the lock, or returns the file if another process has it.
    pub(in crate::ledger) fn try_acquire(file: File) -> io::Result<Result<Self, File>> {
        match file.try_lock() {
            Ok(()) => Ok(Ok(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(Err(file)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(in crate::ledger) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    /// Closing the file would not do: a child process that is being started holds a copy of it
    /// until it runs its own program, and the lock is as long as the last copy.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a lock is released by closing its file");
        }
    }
}

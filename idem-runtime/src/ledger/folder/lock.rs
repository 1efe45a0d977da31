//! Locks on files: the data folder's own, and sled's on its log.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;

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

/// Returns the process that has the lock on a file, if the system tells (Linux does, in
/// `/proc/locks`).
pub(in crate::ledger) fn holder(file: &File) -> Option<u32> {
    let file = file.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
    fs::read_to_string("/proc/locks")
        .ok()?
        .lines()
        .find_map(
            |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [_, "FLOCK", _, _, pid, at, ..] if at == place => pid.parse().ok(),
                _ => None,
            },
        )
}

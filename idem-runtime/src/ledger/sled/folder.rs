//! The data folder: its files, its lock, and what makes them durable.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::ledger::LedgerError;

/// A data folder that this process holds.
pub(super) struct Folder {
    path: PathBuf,
    /// Held until the ledger is closed; the system lets go of it when the process dies.
    lock: Mutex<Option<File>>,
}

impl Folder {
    /// Makes the folder where there is none, and takes its lock.
    pub(super) fn hold(path: &Path) -> Result<Self, LedgerError> {
        let refused = |error: io::Error| LedgerError::of_io(path, &error);
        // The process may go to another directory.
        let path = &std::path::absolute(path).map_err(refused)?;
        fs::create_dir_all(path.join("sled")).map_err(refused)?;
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("lock"))
            .map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a hint; without it the error still says what to do.
                let _ = lock.read_to_string(&mut holder);
                return Err(LedgerError::Held { path: path.to_owned(), by: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(refused)?;
        Ok(Self { path: path.to_owned(), lock: Mutex::new(Some(lock)) })
    }

    /// Whether the lock that is held is still the one at its path: a folder that was moved or deleted keeps no other process
    /// from opening one in its place. Where that cannot be told, it is.
    pub(super) fn is_in_place(&self) -> Result<(), LedgerError> {
        let Some(held) = self.lock.lock().as_ref().and_then(|lock| lock.metadata().ok()) else { return Ok(()) };
        let moved = match fs::metadata(self.path.join("lock")) {
            Ok(there) => (there.dev(), there.ino()) != (held.dev(), held.ino()),
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        if moved { Err(LedgerError::Moved { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Lets another process have the folder. Closing the file would not do: a child process that is being started holds
    /// a copy of it until it runs its own program, and the lock is as long as the last copy.
    pub(super) fn release(&self) {
        if let Some(lock) = self.lock.lock().take()
            && let Err(error) = lock.unlock()
        {
            tracing::warn!(%error, "the data folder's lock is let go of by closing it");
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where sled keeps its files.
    pub(super) fn tree(&self) -> PathBuf {
        self.path.join("sled")
    }

    pub(super) fn witness(&self) -> PathBuf {
        self.path.join(super::WITNESS)
    }

    /// sled's log, to be synced by us: sled's own flush ends in `sync_file_range`, which a power cut undoes.
    pub(super) fn log(&self) -> Result<File, LedgerError> {
        File::open(self.tree().join("db")).map_err(|error| self.refused(&error))
    }

    /// Makes sled's files durable, those that are not its log too, and their names.
    pub(super) fn sync_tree(&self) -> Result<(), LedgerError> {
        let sync = || {
            for file in fs::read_dir(self.tree())? {
                match File::open(file?.path()) {
                    // sled's background has just removed it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    opened => opened?.sync_all()?,
                }
            }
            File::open(self.tree())?.sync_all()
        };
        sync().map_err(|error: io::Error| self.refused(&error))
    }

    /// Makes the names in the folder durable, and its own.
    pub(super) fn sync_names(&self) -> Result<(), LedgerError> {
        // The folder's own name stands in one that may be closed to us; whoever made that one has to sync it.
        if let Some(above) = self.path.canonicalize().ok().as_deref().and_then(Path::parent) {
            let _ = File::open(above).and_then(|above| above.sync_all());
        }
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(|error| self.refused(&error))
    }

    /// Whether the disk takes as much as sled writes when it opens.
    pub(super) fn has_room(&self) -> Result<(), LedgerError> {
        let probe = self.path.join("probe");
        let written = fs::write(&probe, vec![1; 2 << 20]).and_then(|()| File::open(&probe)?.sync_all());
        let removed = fs::remove_file(&probe);
        written.and(removed).map_err(|error| self.refused(&error))
    }

    pub(super) fn refused(&self, error: &io::Error) -> LedgerError {
        LedgerError::of_io(&self.path, error)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.release();
    }
}

//! The data folder of an embedded ledger, whatever its engine: its files, its lock, the witness of
//! what was answered, and what makes their names durable.

pub(super) mod copied;
pub(super) mod engine;
pub(super) mod files;
pub(super) mod health;
pub(super) mod held;
pub(super) mod limit;
pub(super) mod lock;
pub(super) mod record_key;
pub(super) mod witness;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::failpoint;
use crate::ledger::LedgerError;
use engine::Engine;
use lock::Lock;

/// The file that is written to see whether there is room.
pub(in crate::ledger) const PROBE: &str = "probe";
/// Longer than the number of any process.
const LONGEST_HOLDER: u64 = 32;

/// A data folder that this process holds.
pub(in crate::ledger) struct Folder {
    path: PathBuf,
    engine: Engine,
    /// The folder, or the first above it that was there before: names were made in it and below it.
    made_in: PathBuf,
    /// Held until the ledger is closed.
    lock: Mutex<Option<Lock>>,
}

impl Folder {
    /// Takes the folder's lock for a ledger on this engine. Creates the folder if it does not exist,
    /// closed to other users; an existing one keeps its mode.
    pub(in crate::ledger) fn hold(path: &Path, engine: Engine) -> Result<Self, LedgerError> {
        let refused = |error: io::Error| LedgerError::from_io(path, &error);
        // The process may go to another directory.
        let path = &std::path::absolute(path).map_err(refused)?;
        let made_in = first_there(path).map_err(refused)?;
        files::look(path).map_err(refused)?;
        engine.is_alone_in(path)?;
        files::make_folder(&path.join(engine.name())).map_err(refused)?;
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let lock = files::open(&mut options, &path.join("lock")).map_err(refused)?;
        let lock = Lock::try_acquire(lock).map_err(refused)?.map_err(|held| {
            let mut holder = String::new();
            // The holder's number is only a hint in the error.
            let _ = held.take(LONGEST_HOLDER).read_to_string(&mut holder);
            LedgerError::Held {
                path: path.to_owned(),
                by: holder.trim().parse().ok(),
                lock_removed: false,
            }
        })?;
        let mut file = lock.file();
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(refused)?;
        Ok(Self {
            path: path.to_owned(),
            engine,
            made_in,
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Whether the lock that is held is still the one at its path: a folder that was moved or
    /// deleted keeps no other process from opening one in its place. Where that cannot be told, it
    /// is.
    pub(in crate::ledger) fn is_in_place(&self) -> Result<(), LedgerError> {
        let Some(held) = self
            .lock
            .lock()
            .as_ref()
            .and_then(|lock| lock.file().metadata().ok())
        else {
            return Ok(());
        };
        let moved = match fs::symlink_metadata(self.path.join("lock")) {
            Ok(there) => (there.dev(), there.ino()) != (held.dev(), held.ino()),
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        };
        if moved {
            Err(LedgerError::Moved {
                path: self.path.clone(),
            })
        } else {
            Ok(())
        }
    }

    /// Releases the folder.
    pub(in crate::ledger) fn release(&self) {
        if let Some(lock) = self.lock.lock().take() {
            // The number of a holder that is gone misleads. The next holder writes its own.
            let _ = lock.file().set_len(0);
        }
    }

    pub(in crate::ledger) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine keeps its files.
    pub(in crate::ledger) fn tree(&self) -> PathBuf {
        self.path.join(self.engine.name())
    }

    pub(in crate::ledger) fn witness(&self) -> PathBuf {
        self.path.join(crate::ledger::error::WITNESS)
    }

    /// Makes the names in the folder durable.
    pub(in crate::ledger) fn sync(&self) -> io::Result<()> {
        sync(&self.path)
    }

    /// Makes the names in the folder durable, and its own. Those of the folders above it too when
    /// the ledger is `new`: this process has made them, or one that died before it could sync them,
    /// or the caller, without a sync.
    pub(in crate::ledger) fn sync_names(&self, new: bool) -> Result<(), LedgerError> {
        let sync_all = || {
            self.sync()?;
            let path = self.path.canonicalize()?;
            for above in path
                .ancestors()
                .skip(1)
                .take(if new { usize::MAX } else { 1 })
            {
                match sync(above) {
                    // Folders that were there before may be closed to us.
                    Err(_) if !above.starts_with(&self.made_in) => {}
                    // A folder that is closed to reading cannot be synced alone.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        rustix::fs::sync();
                    }
                    synced => synced?,
                }
            }
            Ok(())
        };
        sync_all().map_err(|error: io::Error| self.refused(&error))
    }

    /// Returns how many bytes its files take on the disk.
    #[cfg(feature = "fjall")]
    pub(in crate::ledger) fn size(&self) -> io::Result<u64> {
        /// The file system counts blocks of 512 bytes, whatever its own.
        const BLOCK: u64 = 512;
        fn below(folder: &Path) -> io::Result<u64> {
            let mut size = 0;
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                size += match entry.metadata() {
                    // The engine's background has just removed it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    found if found.as_ref().is_ok_and(fs::Metadata::is_dir) => {
                        below(&entry.path())?
                    }
                    found => found?.blocks() * BLOCK,
                };
            }
            Ok(size)
        }
        below(&self.path)
    }

    /// Returns whether the disk has room for the bytes that an engine writes when it opens.
    pub(in crate::ledger) fn has_room(&self) -> Result<(), LedgerError> {
        let probe = self.path.join(PROBE);
        let write = |mut file: File| {
            file.write_all(&vec![1; 2 << 20])
                .and_then(|()| file.sync_all())
        };
        let written = files::open(
            File::options().write(true).create(true).truncate(true),
            &probe,
        )
        .and_then(write);
        let removed = fs::remove_file(&probe);
        written.and(removed).map_err(|error| self.refused(&error))
    }

    pub(in crate::ledger) fn poisoned(&self, detail: &str) -> LedgerError {
        LedgerError::Poisoned {
            path: self.path.clone(),
            detail: detail.to_owned(),
        }
    }

    /// Returns the error of a refused write. The engine can be opened again only after a full disk: after
    /// any other error, reading back proves nothing.
    pub(in crate::ledger) fn after_a_write(&self, error: LedgerError) -> LedgerError {
        match error {
            LedgerError::Io { reason, .. }
            | LedgerError::NotWritable { reason, .. }
            | LedgerError::Damaged { detail: reason, .. } => {
                self.poisoned(&format!("writing failed: {reason}"))
            }
            error => error,
        }
    }

    pub(in crate::ledger) fn refused(&self, error: &io::Error) -> LedgerError {
        LedgerError::from_io(&self.path, error)
    }

    /// Removes a new ledger's files, and the folders that were made for it.
    pub(in crate::ledger) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(self.tree())?;
        for name in [
            self.witness(),
            witness::unnamed(&self),
            self.path.join(copied::COPIED),
            self.path.join("lock"),
        ] {
            match fs::remove_file(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        let path = self.path.canonicalize()?;
        path.ancestors()
            .take_while(|made| *made != self.made_in)
            .try_for_each(fs::remove_dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.release();
    }
}

/// The folder, or the first above it that is there.
fn first_there(path: &Path) -> io::Result<PathBuf> {
    let mut found = Err(io::Error::from(io::ErrorKind::NotFound));
    for folder in path.ancestors() {
        // A relative path begins in the folder that this process works in.
        found = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
        .canonicalize();
        if !matches!(&found, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            break;
        }
    }
    found
}

/// Makes the names in a folder durable.
pub(in crate::ledger) fn sync(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    folder.sync_all()?;
    failpoint::point!(FOLDER_SYNCED);
    Ok(())
}

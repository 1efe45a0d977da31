//! The data folder: its files, its lock, and what makes them durable.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::files;
use super::lock::{self, Lock};
use crate::failpoint;
use crate::ledger::LedgerError;

/// How long an earlier sled of this process may take to release its files.
const LETTING_GO: Duration = Duration::from_secs(10);
/// The file that is written to see whether there is room.
pub(super) const PROBE: &str = "probe";
/// Longer than the number of any process.
const LONGEST_HOLDER: u64 = 32;

/// A data folder that this process holds.
pub(super) struct Folder {
    path: PathBuf,
    /// The folder, or the first above it that was there before: names were made in it and below it.
    made_in: PathBuf,
    /// Held until the ledger is closed.
    lock: Mutex<Option<Lock>>,
}

impl Folder {
    /// Takes the folder's lock. Creates the folder if it does not exist, closed to other users; an
    /// existing one keeps its mode.
    pub(super) fn hold(path: &Path) -> Result<Self, LedgerError> {
        let refused = |error: io::Error| LedgerError::from_io(path, &error);
        // The process may go to another directory.
        let path = &std::path::absolute(path).map_err(refused)?;
        let made_in = first_there(path).map_err(refused)?;
        files::look(path)
            .and_then(|()| files::make_folder(&path.join("sled")))
            .map_err(refused)?;
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
            made_in,
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Whether the lock that is held is still the one at its path: a folder that was moved or
    /// deleted keeps no other process from opening one in its place. Where that cannot be told, it
    /// is.
    pub(super) fn is_in_place(&self) -> Result<(), LedgerError> {
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
    pub(super) fn release(&self) {
        if let Some(lock) = self.lock.lock().take() {
            // The number of a holder that is gone misleads. The next holder writes its own.
            let _ = lock.file().set_len(0);
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
        self.path.join(crate::ledger::error::WITNESS)
    }

    /// sled's log, to be synced by us: sled's own flush ends in `sync_file_range`, which a power
    /// cut undoes. Makes an empty one where there is none.
    pub(super) fn log(&self) -> Result<File, LedgerError> {
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        files::open(&mut options, &self.tree().join("db")).map_err(|error| self.refused(&error))
    }

    /// Takes the lock that sled takes on its log, if there is a log. No other process reads or
    /// writes it until the lock is dropped, and then sled can take it. Waits for an earlier sled of
    /// this process.
    ///
    /// # Errors
    /// When another process has it: it holds the folder, and its lock file was removed. When this
    /// process keeps it: after a panic, sled never releases it.
    pub(super) fn lock_log(&self) -> Result<Option<Lock>, LedgerError> {
        let refused = |error: io::Error| self.refused(&error);
        let mut log = match files::open(
            File::options().read(true).write(true),
            &self.tree().join("db"),
        ) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(refused)?,
        };
        let deadline = Instant::now() + LETTING_GO;
        loop {
            log = match Lock::try_acquire(log).map_err(refused)? {
                Ok(lock) => return Ok(Some(lock)),
                Err(held) => held,
            };
            let (by, us) = (lock::holder(&log), Some(std::process::id()));
            if (by.is_some() && by != us) || Instant::now() >= deadline {
                let path = self.path.clone();
                return Err(if by == us {
                    let detail =
                        "an earlier `Idem` of this process has not let go of it".to_owned();
                    LedgerError::Poisoned { path, detail }
                } else {
                    LedgerError::Held {
                        path,
                        by,
                        lock_removed: true,
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
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
            sync(&self.tree())
        };
        sync().map_err(|error: io::Error| self.refused(&error))
    }

    /// Makes the names in the folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync(&self.path)
    }

    /// Makes the names in the folder durable, and its own. Those of the folders above it too when
    /// the ledger is `new`: this process has made them, or one that died before it could sync them,
    /// or the caller, without a sync.
    pub(super) fn sync_names(&self, new: bool) -> Result<(), LedgerError> {
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

    /// Returns whether the disk has room for the bytes that sled writes when it opens.
    pub(super) fn has_room(&self) -> Result<(), LedgerError> {
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

    pub(super) fn refused(&self, error: &io::Error) -> LedgerError {
        LedgerError::from_io(&self.path, error)
    }

    /// Removes a new ledger's files, and the folders that were made for it.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(self.tree())?;
        for name in [
            self.witness(),
            super::witness::unnamed(&self),
            self.path.join(super::copied::COPIED),
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
fn sync(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    folder.sync_all()?;
    failpoint::point!(FOLDER_SYNCED);
    Ok(())
}

//! sled's log as a file: synced by us, and locked before sled opens it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::ledger::LedgerError;
use crate::ledger::folder::lock::Lock;
use crate::ledger::folder::{Folder, files, sync};

/// How long an earlier sled of this process may take to release its files.
const LETTING_GO: Duration = Duration::from_secs(10);

impl Folder {
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
            let (by, us) = (holder(&log), Some(std::process::id()));
            if (by.is_some() && by != us) || Instant::now() >= deadline {
                let path = self.path().to_owned();
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
}

/// Returns the process that has the lock on a file, if the system tells (Linux does, in
/// `/proc/locks`).
fn holder(file: &File) -> Option<u32> {
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

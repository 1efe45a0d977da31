//! A copy of the folder while the ledger works.
//!
//! The committer holds still meanwhile, but sled's background may still move pages and reuse their
//! places. So the log is copied as it was at one moment, which is what a `kill -9` leaves of it: by
//! a reflink where the file system has them, and else by reading it again until it did not change
//! while it was read.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::files as own;
use super::opening::Opened;
use super::shared::Shared;
use super::{recovery, verify};
use crate::failpoint;
use crate::ledger::LedgerError;
use crate::ledger::folder::witness::Witness;
use crate::ledger::folder::{Folder, copied, files};

/// A write in the same tick of the file system's clock as the last one cannot be seen by its time,
/// so a log counts as unchanged since a moment only if it was at rest for this long before.
const AT_REST: Duration = Duration::from_millis(50);
/// sled's background ends when there is nothing to move; only a disk that hardly works takes it so
/// long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much is compared at once.
const PIECE: usize = 1 << 20;
/// The cache of a copy's store: small beside the ledger's own.
const CACHE: u64 = 16 << 20;

/// Copies an open ledger into a folder that is empty or not there.
pub(super) fn copy(shared: &Shared, to: &Path) -> Result<(), LedgerError> {
    copied::make(&shared.folder, to, |copy| make(shared, copy))
}

fn make(shared: &Shared, copy: &Folder) -> Result<(), LedgerError> {
    let held_still = shared.writer.lock();
    still_open(shared)?;
    let Some(acknowledged) = Witness::read(&shared.folder)? else {
        return Err(LedgerError::Damaged {
            path: shared.folder.path().to_owned(),
            detail: "its witness was removed while it was open".to_owned(),
        });
    };
    // The witness comes first: a copy that is cut short is refused, and not opened as a smaller
    // ledger.
    Witness::start(copy, acknowledged).map_err(|error| copy.refused(&error))?;
    copied::mark(copy.path(), shared.folder.path(), shared.clock.now())
        .map_err(|error| copy.refused(&error))?;
    files_but_the_log(&shared.folder.tree(), &copy.tree()).map_err(|error| copy.refused(&error))?;
    failpoint::point!(COPYING);
    let log = files::open(
        File::options().write(true).read(true).create_new(true),
        &copy.tree().join("db"),
    );
    let log = log.map_err(|error| copy.refused(&error))?;
    let from = Log {
        file: shared.folder.log()?,
        folder: shared.folder.path(),
    };
    log_at_one_moment(
        &from,
        &Log {
            file: log,
            folder: copy.path(),
        },
    )?;
    still_open(shared)?;
    drop(held_still);
    copy.sync_tree()?;
    copy.sync_names(true)?;
    prove(copy, acknowledged)
}

/// Whether all that was acknowledged is in the files.
fn still_open(shared: &Shared) -> Result<(), LedgerError> {
    shared.engine.read().open().map(drop)
}

/// Copies what sled writes only when it opens: its settings and its snapshot.
pub(super) fn files_but_the_log(from: &Path, to: &Path) -> io::Result<()> {
    for file in fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            files::make_folder(&target)?;
            files_but_the_log(&file.path(), &target)?;
            File::open(&target)?.sync_all()?;
        } else if file.file_name() != "db" {
            own::copy(&file.path(), &target)?.sync_all()?;
        }
    }
    Ok(())
}

/// A log, and the folder that trouble with it is told of.
struct Log<'a> {
    file: File,
    folder: &'a Path,
}

/// Copies a log to which others may write.
fn log_at_one_moment(from: &Log<'_>, to: &Log<'_>) -> Result<(), LedgerError> {
    if cloned(&from.file, &to.file) {
        return Ok(());
    }
    let mut deadline = None;
    loop {
        let before = from.at_rest(deadline)?;
        bring_up_to_date(from, to)?;
        if from.stamp()? == before {
            return Ok(());
        }
        // How long the first time takes is a matter of the log's size.
        deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
    }
}

#[cfg(target_os = "linux")]
fn cloned(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn cloned(_: &File, _: &File) -> bool {
    false
}

/// When a file was written last, and how long it is.
type Stamp = (i64, i64, u64);

impl Log<'_> {
    fn failed(&self, error: &io::Error) -> LedgerError {
        LedgerError::from_io(self.folder, error)
    }

    fn stamp(&self) -> Result<Stamp, LedgerError> {
        let found = self.file.metadata().map_err(|error| self.failed(&error))?;
        Ok((found.mtime(), found.mtime_nsec(), found.len()))
    }

    /// Waits until it was at rest for a while.
    fn at_rest(&self, deadline: Option<Instant>) -> Result<Stamp, LedgerError> {
        let (mut found, mut since) = (self.stamp()?, Instant::now());
        while since.elapsed() < AT_REST {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(self.failed(&io::Error::other("the log does not come to rest")));
            }
            std::thread::sleep(AT_REST / 10);
            let now = self.stamp()?;
            if now != found {
                (found, since) = (now, Instant::now());
            }
        }
        Ok(found)
    }

    /// Reads as much as there is.
    fn read(&self, piece: &mut [u8], at: u64) -> Result<usize, LedgerError> {
        let mut len = 0;
        while len < piece.len() {
            match self.file.read_at(&mut piece[len..], at + len as u64) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(len)
    }
}

/// Reads both logs, and writes what differs.
fn bring_up_to_date(from: &Log<'_>, to: &Log<'_>) -> Result<(), LedgerError> {
    let (mut new, mut old) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    loop {
        let len = from.read(&mut new, at)?;
        let written = to.read(&mut old, at)?;
        if new[..len] != old[..written.min(len)] {
            to.file
                .write_all_at(&new[..len], at)
                .map_err(|error| to.failed(&error))?;
        }
        at += len as u64;
        if len < PIECE {
            return to.file.set_len(at).map_err(|error| to.failed(&error));
        }
    }
}

/// Opens the copy, as its next owner will, and holds it against what was acknowledged.
fn prove(copy: &Folder, acknowledged: u64) -> Result<(), LedgerError> {
    let (store, log) = recovery::begin(copy, CACHE, Some(acknowledged))?;
    let proved = Opened::read(&store, copy.path(), Some(acknowledged))
        .and_then(|opened| verify::at_open(&store, opened.closed).map(drop));
    store
        .unless_poisoned(proved)
        .map(drop)
        .map_err(|error| LedgerError::NotCopied {
            path: copy.path().to_owned(),
            reason: format!("it does not hold all that was acknowledged ({error}); copy again"),
        })?;
    // sled may have tidied up before it let go.
    log.sync_all().map_err(|error| copy.refused(&error))?;
    copy.sync_tree()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A writer that, as sled's background does, writes for a while and rests for a while. It
    /// writes its pages in turn, so at any one moment the pages up to some place have one number,
    /// and those after it the number before.
    #[test]
    fn a_log_that_is_written_while_it_is_copied_is_copied_as_it_was_at_one_moment() {
        const PAGES: u64 = 4096;
        let folder = tempfile::tempdir().unwrap();
        let new = |name: &str| File::create_new(folder.path().join(name)).unwrap();
        let log = Log {
            file: new("log"),
            folder: folder.path(),
        };
        log.file.set_len(PAGES * 4096).unwrap();
        let (ended, begun) = (AtomicBool::new(false), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let page_of = |number: u64| [number.to_le_bytes(); 512].concat();
                for number in 1_u64.. {
                    let page = page_of(number);
                    for at in 0..PAGES {
                        log.file.write_all_at(&page, at * 4096).unwrap();
                        if (number, at) == (1, 10) {
                            begun.wait();
                        }
                    }
                    if ended.load(Ordering::SeqCst) {
                        break;
                    }
                    // Most rests are too short for a copy, and only just long enough to begin one.
                    std::thread::sleep(if number.is_multiple_of(8) {
                        AT_REST * 6
                    } else {
                        AT_REST * 5 / 4
                    });
                }
            });
            begun.wait();
            let copied = ["one", "two", "three"].map(|name| {
                let copied = log_at_one_moment(
                    &log,
                    &Log {
                        file: new(name),
                        folder: folder.path(),
                    },
                );
                copied.map(|()| fs::read(folder.path().join(name)).unwrap())
            });
            // The writer ends before anything is looked at: a test that fails does not wait for it.
            ended.store(true, Ordering::SeqCst);
            for bytes in copied.map(Result::unwrap) {
                let words = bytes
                    .chunks(8)
                    .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
                let numbers: Vec<u64> = words.collect();
                let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
                assert_eq!(bytes.len() as u64, PAGES * 4096);
                assert!(
                    first <= last + 1 && numbers.is_sorted_by(|one, next| one >= next),
                    "{last} to {first}"
                );
            }
        });
    }
}

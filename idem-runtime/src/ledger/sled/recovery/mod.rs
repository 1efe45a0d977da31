//! Reading sled's log before sled does, so that an opening that is refused has changed nothing that
//! is needed.
//!
//! sled's own recovery takes a read that fails, and anything else that it cannot read, for the end
//! of its log; then it overwrites what follows. So it gets nothing to recover: the log is read
//! here, with its sums checked and its errors passed on, the last group that it holds is held
//! against the witness, and what was read is put down as the snapshot that sled begins from. Behind
//! that snapshot, sled finds no segment whose header it would believe.
//!
//! What a power cut leaves is judged as sled judges it, with one difference: a header may claim
//! what is not there (see
//! [`Log::find_segments`]).

mod format;
mod groups;
mod log;
mod snapshot;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use format::{SEGMENT, has_room};
use log::{Hidden, Log};
use snapshot::Snapshot;

use super::copy::files_but_the_log;
use super::files as own;
use super::opening::Opened;
use super::store::Store;
use crate::ledger::LedgerError;
use crate::ledger::folder::lock::Lock;
use crate::ledger::folder::{Folder, files};

/// Where a copy is tried in the data folder.
const TRIAL: &str = "trial";

/// Opens sled's files once they are known to hold what was acknowledged. Returns the log too, to be
/// synced: it was opened before sled started, so its sync fails if a write failed since, and if only
/// sled's background was told of it.
///
/// # Errors
/// When they cannot be read, or hold less. What the log's end shows is seen before anything is
/// written.
pub(super) fn begin(
    folder: &Folder,
    cache_bytes: u64,
    acknowledged: Option<u64>,
) -> Result<(Store, File), LedgerError> {
    match begin_once(folder, cache_bytes, acknowledged) {
        // sled passes over an error when it lists its folder. It missed its snapshot then, and so
        // sees a hidden segment.
        Err(LedgerError::Damaged { detail, .. }) if detail.contains("duplicate segment LSN") => {
            begin_once(folder, cache_bytes, acknowledged)
        }
        begun => begun,
    }
}

fn begin_once(
    folder: &Folder,
    cache_bytes: u64,
    acknowledged: Option<u64>,
) -> Result<(Store, File), LedgerError> {
    let (path, tree) = (folder.path(), &folder.tree());
    let refused = |error: io::Error| told(path, &error);
    let lock = folder.lock_log()?;
    let found = Found::read(tree, acknowledged).map_err(refused)?;
    if let Some(acknowledged) = acknowledged.filter(|group| *group > 0) {
        if found.is_empty() {
            return Err(LedgerError::Behind {
                path: path.to_owned(),
                found: 0,
                acknowledged,
            });
        }
        if found.is_doubtful {
            tracing::warn!(path = %path.display(), "the log is not as a kill leaves it, so a copy of it is opened first");
            let copy = path.join(TRIAL);
            let tried = try_on_a_copy(&copy, path, tree, cache_bytes, acknowledged);
            remove_folder(&copy).map_err(refused)?;
            tried?;
        }
    }
    let log = folder.log()?;
    let store = found.open(tree, path, cache_bytes, acknowledged, lock)?;
    // sled may have written its settings, and what comes relies on them.
    folder.sync_tree()?;
    Ok((store, log))
}

/// Opens a copy of sled's files. Damage is an error, and the files stay as they are.
fn try_on_a_copy(
    copy: &Path,
    path: &Path,
    tree: &Path,
    cache_bytes: u64,
    acknowledged: u64,
) -> Result<(), LedgerError> {
    let refused = |error: io::Error| told(path, &error);
    remove_folder(copy)
        .and_then(|()| files::make_folder(copy))
        .map_err(refused)?;
    files_but_the_log(tree, copy)
        .and_then(|()| own::copy(&tree.join("db"), &copy.join("db")))
        .map_err(refused)?;
    let found = Found::read(copy, Some(acknowledged)).map_err(refused)?;
    let store = found.open(copy, path, cache_bytes, Some(acknowledged), None)?;
    let read = Opened::read(&store, path, Some(acknowledged));
    store.unless_poisoned(read).map(drop)
}

/// Returns the error of the files: damage in its own words, and the rest in the
/// system's.
fn told(path: &Path, error: &io::Error) -> LedgerError {
    match error.kind() {
        io::ErrorKind::InvalidData => LedgerError::Damaged {
            path: path.to_owned(),
            detail: error.to_string(),
        },
        _ => LedgerError::from_io(path, error),
    }
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the files hold.
struct Found {
    log: Option<Log>,
    /// What sled is to begin from, if there is anything.
    snapshot: Option<Snapshot>,
    /// Whether the snapshot is not in place yet.
    is_new: bool,
    /// Whether something is as neither a kill nor, but seldom, a power cut leaves it.
    is_doubtful: bool,
}

impl Found {
    /// Reads sled's files, and writes nothing.
    fn read(tree: &Path, acknowledged: Option<u64>) -> io::Result<Self> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        let snapshot = Snapshot::newest(tree)?;
        let Some(mut log) = Log::open(tree)?.filter(|log| log.length > 0) else {
            return match snapshot {
                Some(_) => Err(invalid("its log is missing")),
                None => Ok(Self {
                    log: None,
                    snapshot: None,
                    is_new: false,
                    is_doubtful: false,
                }),
            };
        };
        let mut snapshot = snapshot.unwrap_or_default();
        let before = (snapshot.until, snapshot.active);
        let known = snapshot.until.unwrap_or(0);
        let from = known / SEGMENT * SEGMENT;
        log.find_segments(from, snapshot.active)?;
        log.forget_unsynced(acknowledged)?;
        log.find_segments(from, snapshot.active)?;
        let mut end = log.end(from)?;
        if let Some(last) = end {
            end = log.apply(&mut snapshot, last)?;
            snapshot.group = snapshot.group.max(log.newest_group(end.unwrap_or(0))?);
        }
        if end.is_none() && snapshot.until.is_none() {
            return Ok(Self {
                log: None,
                snapshot: None,
                is_new: false,
                is_doubtful: false,
            });
        }
        if !snapshot.is_whole(log.length) {
            return Err(invalid("pages are missing from its log"));
        }
        let is_doubtful = log.doubtful || snapshot.group < acknowledged.filter(|group| *group > 0);
        let end = end.unwrap_or(0).max(known);
        (snapshot.until, snapshot.active) = match log.last_segment() {
            // Room is left in the last segment.
            Some((lsn, at))
                if Some(lsn) == log.highest
                    && lsn < end
                    && has_room(end - lsn)
                    && log.can_hide() =>
            {
                (Some(end), Some(at))
            }
            // Above everything that has been written.
            _ => (
                Some(
                    end.max(log.highest.map_or(0, |lsn| lsn + 1))
                        .next_multiple_of(SEGMENT),
                ),
                None,
            ),
        };
        let is_new = (snapshot.until, snapshot.active) != before;
        Ok(Self {
            log: Some(log),
            snapshot: Some(snapshot),
            is_new,
            is_doubtful,
        })
    }

    fn is_empty(&self) -> bool {
        self.snapshot.is_none()
    }

    /// Puts down what sled begins from, and opens it: then the lock on its log is sled's.
    fn open(
        &self,
        tree: &Path,
        path: &Path,
        cache_bytes: u64,
        acknowledged: Option<u64>,
        lock: Option<Lock>,
    ) -> Result<Store, LedgerError> {
        let refused = |error: io::Error| told(path, &error);
        let hidden = self.prepare(tree, acknowledged).map_err(refused)?;
        let before = own::names(tree).map_err(refused)?;
        drop(lock);
        let store = Store::open(tree, path, cache_bytes)?;
        own::close_new(tree, &before).map_err(refused)?;
        hidden.map_or(Ok(()), Hidden::show).map_err(refused)?;
        Ok(store)
    }

    fn prepare(&self, tree: &Path, acknowledged: Option<u64>) -> io::Result<Option<Hidden>> {
        snapshot::remove_unfinished(tree)?;
        // Half of sled's settings, as a cut in a ledger's first moment leaves them, would close the
        // folder for good. They are always the same, and a ledger without a witness writes them
        // again.
        if acknowledged.is_none() {
            match fs::remove_file(tree.join("conf")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let (Some(log), Some(snapshot)) = (&self.log, &self.snapshot) else {
            return Ok(None);
        };
        if self.is_new {
            snapshot.put(tree)?;
        }
        snapshot
            .active
            .map(|active| log.hide(active, snapshot.until.unwrap_or(0)))
            .transpose()
    }
}

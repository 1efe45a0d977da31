//! Reading sled's log before sled does, so that an opening that is refused has written nothing.
//!
//! sled's own recovery takes a read that fails, and anything else that it cannot read, for the end of its log; then it
//! overwrites what follows. So it gets nothing to recover: the log is read here, with its sums checked and its errors
//! passed on, the last group that it holds is held against the witness, and what was read is put down as the snapshot that
//! sled begins from. The snapshot ends where a segment begins that no log has yet, so whatever sled cannot read of the
//! segments' headers, there is nothing behind it.
//!
//! What a power cut leaves is judged as sled judges it, with one difference: a header may claim what is not there (see
//! [`Log::find_segments`]).

mod format;
mod groups;
mod log;
mod snapshot;

use std::fs;
use std::io;
use std::path::Path;

use format::SEGMENT;
use log::Log;
use snapshot::Snapshot;

use super::folder::Folder;
use super::opening::Opened;
use super::store::Store;
use crate::ledger::LedgerError;

/// Where a copy is tried in the data folder.
const TRIAL: &str = "trial";

/// Opens sled's files once they are known to hold what was acknowledged.
///
/// # Errors
/// When they cannot be read, or hold less. Nothing was written then.
pub(super) fn begin(folder: &Folder, cache_bytes: u64, acknowledged: Option<u64>) -> Result<Store, LedgerError> {
    let (path, tree) = (folder.path(), &folder.tree());
    let refused = |error: io::Error| folder.refused(&error);
    let found = Found::read(tree, acknowledged).map_err(refused)?;
    if let Some(acknowledged) = acknowledged.filter(|group| *group > 0) {
        if found.is_empty {
            return Err(LedgerError::Behind { path: path.to_owned(), found: 0, acknowledged });
        }
        if found.is_doubtful {
            tracing::warn!(path = %path.display(), "the log is not as a kill leaves it, so a copy of it is opened first");
            let copy = path.join(TRIAL);
            let tried = try_on_a_copy(&copy, path, tree, cache_bytes, acknowledged);
            remove_folder(&copy).map_err(refused)?;
            tried?;
        }
    }
    found.put(tree, acknowledged).map_err(refused)?;
    let store = Store::open(tree, path, cache_bytes)?;
    // sled may have written its settings, and what comes relies on them.
    folder.sync_tree()?;
    Ok(store)
}

/// Opens a copy of sled's files: what is wrong with them shows, and they stay as they are.
fn try_on_a_copy(
    copy: &Path,
    path: &Path,
    tree: &Path,
    cache_bytes: u64,
    acknowledged: u64,
) -> Result<(), LedgerError> {
    let refused = |error: io::Error| LedgerError::of_io(path, &error);
    remove_folder(copy).and_then(|()| copy_files(tree, copy)).map_err(refused)?;
    Found::read(copy, Some(acknowledged)).and_then(|found| found.put(copy, Some(acknowledged))).map_err(refused)?;
    let store = Store::open(copy, path, cache_bytes)?;
    Opened::read(&store, path, Some(acknowledged)).map(drop)
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let to = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy_files(&file.path(), &to)?;
        } else {
            fs::copy(file.path(), to)?;
        }
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the files hold.
struct Found {
    /// What sled is to begin from, where it is not there yet.
    snapshot: Option<Snapshot>,
    is_empty: bool,
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
                None => Ok(Self { snapshot: None, is_empty: true, is_doubtful: false }),
            };
        };
        let mut snapshot = snapshot.unwrap_or_default();
        let (known, active) = (snapshot.until, snapshot.active.take());
        let from = known.unwrap_or(0) / SEGMENT * SEGMENT;
        log.find_segments(from)?;
        log.forget_unsynced(acknowledged)?;
        log.find_segments(from)?;
        let mut end = log.end(from)?;
        if let Some(last) = end {
            end = log.apply(&mut snapshot, last)?;
            snapshot.group = snapshot.group.max(log.newest_group(end.unwrap_or(0))?);
        }
        if !snapshot.is_whole(log.length) {
            return Err(invalid("pages are missing from its log"));
        }
        let is_doubtful = log.doubtful || snapshot.group < acknowledged.filter(|group| *group > 0);
        // Above everything that has been written, so that sled finds nothing behind it.
        let last = end.unwrap_or(0).max(known.unwrap_or(0)).max(log.last_segment().map_or(0, |lsn| lsn + 1));
        snapshot.until = Some(last.div_ceil(SEGMENT) * SEGMENT);
        let is_new = snapshot.until != known || active.is_some();
        let is_empty = end.is_none() && known.is_none();
        Ok(Self { snapshot: Some(snapshot).filter(|_| is_new && !is_empty), is_empty, is_doubtful })
    }

    /// Writes down what sled begins from.
    fn put(&self, tree: &Path, acknowledged: Option<u64>) -> io::Result<()> {
        snapshot::remove_unfinished(tree)?;
        // Half of sled's settings, as a cut in a ledger's first moment leaves them, would close the folder for good. They
        // are always the same, and a ledger without a witness writes them again.
        if acknowledged.is_none() {
            match fs::remove_file(tree.join("conf")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.snapshot.as_ref().map_or(Ok(()), |snapshot| snapshot.put(tree))
    }
}

//! fjall, with its errors sorted and its panics caught.

use std::collections::HashMap;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, Snapshot};
use foldhash::fast::RandomState;

use super::rows::{META, Meta};
use crate::call::panic;
use crate::ledger::LedgerError;
use crate::ledger::folder::health::Abandon;

/// The name of the one keyspace. With several, a journal would be kept until the slowest of them is
/// written down.
const KEYSPACE: &str = "ledger";
/// How large the memtable of a new database may get, in bytes, before it is written down: an eighth of the
/// cache, within these bounds. The journals on the disk are as long, and up to 64 MB longer.
const MEMTABLE: RangeInclusive<u64> = 1 << 20..=16 << 20;

/// One thread writes memtables down while the other merges tables: with one, writes wait for long merges.
const WORKERS: usize = 2;

/// What a group writes: a value under each key, or its removal.
pub(super) type Changes = HashMap<Slice, Option<Slice>, RandomState>;
pub(super) type Change = (Slice, Option<Slice>);

/// Why a group was not committed.
pub(super) enum NotCommitted {
    /// Nothing of it was written, because the background was refused a write. All that it had to write
    /// down is in the journals.
    Before(LedgerError),
    /// It may be in the journal all the same.
    Within(LedgerError),
}

impl From<NotCommitted> for LedgerError {
    fn from(error: NotCommitted) -> Self {
        match error {
            NotCommitted::Before(error) | NotCommitted::Within(error) => error,
        }
    }
}

/// An open database.
pub(super) struct Db {
    /// There until it is dropped or abandoned.
    open: Option<Open>,
    path: PathBuf,
}

struct Open {
    rows: Keyspace,
    db: Database,
}

impl Db {
    /// Opens the database in a folder of the data folder, or makes it.
    pub(super) fn open(tree: &Path, path: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        let memtable = (cache_bytes / 8).clamp(*MEMTABLE.start(), *MEMTABLE.end());
        let open = caught(path, || {
            let db = Database::builder(tree)
                .cache_size(cache_bytes - 2 * memtable)
                .worker_threads(WORKERS)
                .open()?;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable);
            let rows = db.keyspace(KEYSPACE, options)?;
            Ok(Open { rows, db })
        })?;
        Ok(Self {
            open: Some(open),
            path: path.to_owned(),
        })
    }

    /// Calls fjall.
    fn call<T>(&self, call: impl FnOnce(&Open) -> fjall::Result<T>) -> Result<T, LedgerError> {
        let open = self.open.as_ref().ok_or(LedgerError::Closed)?;
        caught(&self.path, || call(open))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>, LedgerError> {
        self.call(|open| open.rows.get(key))
    }

    /// Reads what is in a range at one moment, in the order of the keys, until `each` returns false.
    pub(super) fn scan(
        &self,
        range: impl RangeBounds<Vec<u8>>,
        each: impl FnMut(&[u8], &[u8]) -> Result<bool, LedgerError>,
    ) -> Result<(), LedgerError> {
        // The keyspace alone would show a part of the group that is being written.
        self.call(|open| walk(open.db.snapshot().range(&open.rows, range), each))?
    }

    /// Reads what is in a range at one moment, in the opposite order, until `each` returns false.
    pub(super) fn scan_back(
        &self,
        range: impl RangeBounds<Vec<u8>>,
        each: impl FnMut(&[u8], &[u8]) -> Result<bool, LedgerError>,
    ) -> Result<(), LedgerError> {
        self.call(|open| walk(open.db.snapshot().range(&open.rows, range).rev(), each))?
    }

    /// Returns what is durable now.
    pub(super) fn at_one_moment(&self) -> Result<Moment<'_>, LedgerError> {
        let (rows, now) = self.call(|open| Ok((open.rows.clone(), open.db.snapshot())))?;
        Ok(Moment {
            db: self,
            rows,
            now,
        })
    }

    /// Writes a group durably: after a power cut, all of it is there or none. Until it is, what comes
    /// first can be read first.
    pub(super) fn commit(&self, changes: impl Iterator<Item = Change>) -> Result<(), NotCommitted> {
        self.write(changes, Some(PersistMode::SyncData))
    }

    fn write(
        &self,
        changes: impl Iterator<Item = Change>,
        durability: Option<PersistMode>,
    ) -> Result<(), NotCommitted> {
        let mut was_refused_before = false;
        let committed = self.call(|open| {
            let mut batch = open.db.batch().durability(durability);
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(&open.rows, key, value),
                    None => batch.remove(&open.rows, key),
                }
            }
            batch.commit().inspect_err(|error| {
                was_refused_before = matches!(error, fjall::Error::Poisoned);
            })
        });
        committed.map_err(|error| match was_refused_before {
            true => NotCommitted::Before(LedgerError::Io {
                path: self.path.clone(),
                reason: "the storage engine's background was refused a write".to_owned(),
            }),
            false => NotCommitted::Within(error),
        })
    }
}

/// What a database holds at one moment.
pub(super) struct Moment<'d> {
    db: &'d Db,
    rows: Keyspace,
    now: Snapshot,
}

impl Moment<'_> {
    /// Returns the ledger's own numbers.
    pub(super) fn meta(&self) -> Result<Meta, LedgerError> {
        let meta = caught(&self.db.path, || self.now.get(&self.rows, META))?;
        meta.and_then(|meta| Meta::decode(&meta))
            .ok_or_else(|| unreadable(&self.db.path))
    }

    /// Copies it into a new database, durably.
    pub(super) fn copy_to(&self, copy: &Db) -> Result<(), LedgerError> {
        /// How much is written at once.
        const PIECE: usize = 1000;
        let meta = self.meta()?;
        let mut piece = Vec::with_capacity(PIECE);
        let pairs = || self.now.iter(&self.rows);
        caught(&self.db.path, || {
            walk(pairs(), |key, value| {
                if key != META {
                    piece.push((key.into(), Some(value.into())));
                }
                if piece.len() == PIECE {
                    copy.write(piece.drain(..), None)?;
                }
                Ok(true)
            })
        })??;
        // Its numbers come last: what is cut short has none.
        piece.push((META.into(), Some(meta.encode().into())));
        Ok(copy.commit(piece.into_iter())?)
    }
}

impl Abandon for Db {
    /// Its clean-up might wait for what panicked.
    fn abandon(mut self) {
        std::mem::forget(self.open.take());
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let open = self.open.take();
        let closed = caught(&self.path, || {
            drop(open);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the storage engine could not be closed");
        }
    }
}

/// Returns what was wrong with fjall, or else with `each`.
fn walk(
    pairs: impl Iterator<Item = fjall::Guard>,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, LedgerError>,
) -> fjall::Result<Result<(), LedgerError>> {
    for pair in pairs {
        let (key, value) = pair.into_inner()?;
        match each(&key, &value) {
            Ok(true) => {}
            ended => return Ok(ended.map(drop)),
        }
    }
    Ok(Ok(()))
}

/// Returns the range of the keys that begin with these bytes.
pub(super) fn prefix(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let start = Bound::Included(prefix.to_vec());
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return (start, Bound::Excluded(end));
        }
    }
    (start, Bound::Unbounded)
}

/// Returns the error of a database whose own numbers cannot be read.
pub(super) fn unreadable(path: &Path) -> LedgerError {
    LedgerError::Damaged {
        path: path.to_owned(),
        detail: "its own numbers cannot be read. Was it written by a newer version of idem?"
            .to_owned(),
    }
}

fn caught<T>(path: &Path, call: impl FnOnce() -> fjall::Result<T>) -> Result<T, LedgerError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(|error| sorted(path, &error)),
        Err(caught) => Err(LedgerError::Poisoned {
            path: path.to_owned(),
            detail: panic::text(&*caught),
        }),
    }
}

/// Returns the error by what a person can do about it.
fn sorted(path: &Path, error: &fjall::Error) -> LedgerError {
    let damaged = |detail: String| LedgerError::Damaged {
        path: path.to_owned(),
        detail,
    };
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            match error.kind() {
                // It opens its own files only.
                io::ErrorKind::NotFound => damaged("one of its files is missing".to_owned()),
                _ => LedgerError::from_io(path, error),
            }
        }
        fjall::Error::Locked => LedgerError::Held {
            path: path.to_owned(),
            by: None,
            lock_removed: true,
        },
        fjall::Error::Poisoned => LedgerError::Poisoned {
            path: path.to_owned(),
            detail: "a write in its background failed".to_owned(),
        },
        fjall::Error::Storage(fjall::LsmError::ChecksumMismatch { .. }) => {
            damaged("a block of a table has another sum than it should have".to_owned())
        }
        fjall::Error::Storage(fjall::LsmError::Unrecoverable) => {
            damaged("some of its tables are missing".to_owned())
        }
        fjall::Error::InvalidVersion(_) => {
            damaged("the file `version` of its engine cannot be read".to_owned())
        }
        fjall::Error::Storage(error) => damaged(format!("{error:?}")),
        other => damaged(format!("{other:?}")),
    }
}

//! Typed values in sled's one tree, each in a versioned envelope.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::sled::IVec;
use minicbor::Decode;
use minicbor::bytes::ByteVec;

use super::batch::Batch;
use super::layout::{HASHES, bucket_key, hashes_key};
use super::nudge::Nudge;
use super::spill::Spill;
use crate::call::panic;
use crate::failpoint;
use crate::ledger::LedgerError;
use crate::ledger::folder::health::Abandon;
use crate::protocol::encoding::decode;

/// A leaf of the tree holds up to 17 values and must stay under 128 KiB: past that, sled moves it
/// to a file that it never syncs.
pub(super) const LARGEST_INLINE: usize = 4096;

/// How many keys are read at once.
pub(super) const PAGE: usize = 256;

/// A key, and the bytes that stand there.
pub(super) type Row = (IVec, IVec);

/// How often a batch is applied before its error counts.
const APPLIED_AGAIN: u32 = 4;

/// sled, with its errors sorted and its panics caught.
pub(super) struct Store {
    /// There until it is dropped or abandoned.
    db: Option<::sled::Db>,
    nudge: Nudge,
    path: PathBuf,
}

impl Store {
    /// Opens the files in sled's folder; errors name the data folder. A panic here is damage: sled
    /// unwraps what it reads.
    pub(super) fn open(tree: &Path, path: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        let config = ::sled::Config::new()
            .path(tree)
            .cache_capacity(cache_bytes)
            // sled collects its garbage in this period only; the durability is ours.
            .flush_every_ms(Some(500));
        catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|caught| LedgerError::Damaged {
                path: path.to_owned(),
                detail: panic::text(&*caught),
            })?
            .map_err(|error| sorted(path, error))
            .and_then(|db| {
                let nudge =
                    Nudge::start(db.clone()).map_err(|error| LedgerError::from_io(path, &error))?;
                Ok(Self {
                    db: Some(db),
                    nudge,
                    path: path.to_owned(),
                })
            })
    }

    /// Runs one of sled's calls.
    fn call<T>(
        &self,
        work: impl FnOnce(&::sled::Db) -> ::sled::Result<T>,
    ) -> Result<T, LedgerError> {
        let Some(db) = &self.db else {
            return Err(LedgerError::Closed);
        };
        catch_unwind(AssertUnwindSafe(|| work(db)))
            .map_err(|caught| LedgerError::Poisoned {
                path: self.path.clone(),
                detail: panic::text(&*caught),
            })?
            .map_err(|error| sorted(&self.path, error))
    }

    /// Reads a value.
    pub(super) fn get<T: for<'b> Decode<'b, ()>>(
        &self,
        key: &[u8],
    ) -> Result<Option<T>, LedgerError> {
        Self::read(key, |key| self.raw(key))
    }

    /// A value's bytes, or where its chunks are.
    pub(super) fn raw(&self, key: &[u8]) -> Result<Option<IVec>, LedgerError> {
        self.call(|tree| tree.get(key))
    }

    /// Reads a value by the bytes that stand under keys.
    pub(super) fn read<T: for<'b> Decode<'b, ()>>(
        key: &[u8],
        raw: impl Fn(&[u8]) -> Result<Option<IVec>, LedgerError>,
    ) -> Result<Option<T>, LedgerError> {
        loop {
            let Some(head) = raw(key)? else {
                return Ok(None);
            };
            let Some(spill) = Spill::read(&head) else {
                return decode(&head).map(Some);
            };
            if let Some(envelope) = spill.gather(&raw)? {
                return decode(&envelope).map(Some);
            }
            // The value was replaced between the two reads, or its chunks are gone for good.
            if raw(key)?.as_ref() == Some(&head) {
                return Err(LedgerError::Record {
                    detail: "its chunks are missing".to_owned(),
                });
            }
        }
    }

    /// Up to `limit` keys that begin so, after one (or from the first), and what stands there.
    pub(super) fn rows(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, LedgerError> {
        let start = if after.is_empty() {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        self.call(|tree| {
            let rows = tree
                .range::<&[u8], _>((start, Bound::Unbounded))
                .take_while(|row| starts(row, prefix));
            rows.take(limit).collect()
        })
    }

    /// Counts the keys that begin so, after one, up to `limit`; and the last of them.
    pub(super) fn count(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: u64,
    ) -> Result<(u64, Vec<u8>), LedgerError> {
        let start = if after.is_empty() {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        self.call(|tree| {
            let (mut count, mut last) = (0, None);
            for row in tree
                .range::<&[u8], _>((start, Bound::Unbounded))
                .take_while(|row| starts(row, prefix))
            {
                last = Some(row?.0);
                count += 1;
                if count >= limit {
                    break;
                }
            }
            Ok((count, last.map(|key| key.to_vec()).unwrap_or_default()))
        })
    }

    /// Reads all values whose keys begin so, in order. One that cannot be read is handed over as an
    /// error of its own.
    pub(super) fn each<T: for<'b> Decode<'b, ()>>(
        &self,
        prefix: &[u8],
        mut take: impl FnMut(&[u8], Result<T, LedgerError>) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mut after = IVec::default();
        loop {
            let keys = self.rows(prefix, &after, PAGE)?;
            for (key, _) in &keys {
                match self.get(key) {
                    Ok(Some(value)) => take(key, Ok(value))?,
                    Ok(None) => {}
                    Err(error @ LedgerError::Record { .. }) => take(key, Err(error))?,
                    Err(error) => return Err(error),
                }
            }
            match keys.into_iter().next_back() {
                Some((last, _)) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Visits all keys that begin so.
    pub(super) fn keys(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), LedgerError> {
        self.call(|tree| {
            tree.scan_prefix(prefix)
                .keys()
                .try_for_each(|key| key.map(|key| visit(&key)))
        })
    }

    /// The last key that begins so.
    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        self.call(|tree| {
            tree.scan_prefix(prefix)
                .keys()
                .next_back()
                .map(|key| key.map(|key| key.to_vec()))
                .transpose()
        })
    }

    /// Whether a closed bucket's list has this hash.
    pub(super) fn lists(&self, bucket: u32, hash: u64) -> Result<bool, LedgerError> {
        let key = hashes_key(bucket, hash);
        let row = self.call(|tree| tree.range(..=key.as_slice()).next_back().transpose())?;
        let Some((_, list)) = row.filter(|(key, _)| key.starts_with(&bucket_key(HASHES, bucket)))
        else {
            return Ok(false);
        };
        let list: ByteVec = decode(&list)?;
        Ok(hashes(&list).any(|listed| listed == hash))
    }

    /// Up to `limit` keys of a kind before one, backwards.
    pub(super) fn keys_before(
        &self,
        kind: u8,
        before: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.call(|tree| {
            tree.range([kind].as_slice()..before)
                .keys()
                .rev()
                .take(limit)
                .map(|key| key.map(|key| key.to_vec()))
                .collect()
        })
    }

    /// The bytes of its files.
    pub(super) fn size(&self) -> Result<u64, LedgerError> {
        self.call(::sled::Db::size_on_disk)
    }

    pub(super) fn damaged(&self, detail: String) -> LedgerError {
        LedgerError::Damaged {
            path: self.path.clone(),
            detail,
        }
    }

    /// Writes a batch, all of it or nothing, and hands it to the operating system.
    ///
    /// A read that fails on the way leaves half of a batch in sled's memory, so the batch is
    /// applied until all of it is.
    pub(super) fn write(&self, batch: Batch<'_>) -> Result<(), LedgerError> {
        let writes = batch.finish();
        let apply = |tree: &::sled::Db| {
            let mut batch = ::sled::Batch::default();
            writes.iter().for_each(|(key, value)| match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            });
            tree.apply_batch(batch)
        };
        let _flushing = self.nudge.watch();
        self.call(|tree| {
            (1..APPLIED_AGAIN)
                .find_map(|_| apply(tree).ok())
                .map_or_else(|| apply(tree), Ok)?;
            failpoint::point!(APPLIED, |said| Err(
                failpoint::refused(said.as_deref()).into()
            ));
            tree.flush().map(|_| ())
        })
    }

    /// Hands what is in its memory to the operating system, and tells of a write that its
    /// background was refused.
    pub(super) fn flush(&self) -> Result<(), LedgerError> {
        let _flushing = self.nudge.watch();
        self.call(|tree| tree.flush().map(|_| ()))
    }

    /// Itself and what was read of it; where sled panicked meanwhile, it is abandoned.
    pub(super) fn unless_poisoned<T>(
        self,
        read: Result<T, LedgerError>,
    ) -> Result<(Self, T), LedgerError> {
        match read {
            Ok(read) => Ok((self, read)),
            Err(error) => {
                if matches!(error, LedgerError::Poisoned { .. }) {
                    self.abandon();
                }
                Err(error)
            }
        }
    }
}

impl Abandon for Store {
    /// Lets go of sled without its clean-up, which might wait for what panicked.
    fn abandon(mut self) {
        self.nudge.abandon();
        std::mem::forget(self.db.take());
    }
}

impl Drop for Store {
    /// sled unwraps the last sync.
    fn drop(&mut self) {
        self.nudge.end();
        let db = self.db.take();
        if let Err(caught) = catch_unwind(AssertUnwindSafe(|| drop(db))) {
            tracing::error!(
                detail = panic::text(&*caught),
                "the storage engine could not be closed"
            );
        }
    }
}

/// A list of hashes.
pub(super) fn hashes(list: &[u8]) -> impl Iterator<Item = u64> {
    list.as_chunks()
        .0
        .iter()
        .map(|hash| u64::from_be_bytes(*hash))
}

fn starts(row: &::sled::Result<(IVec, IVec)>, prefix: &[u8]) -> bool {
    row.as_ref()
        .map_or(true, |(key, _)| key.starts_with(prefix))
}

fn sorted(path: &Path, error: ::sled::Error) -> LedgerError {
    match error {
        ::sled::Error::Io(error) => LedgerError::from_io(path, &error),
        other => LedgerError::Damaged {
            path: path.to_owned(),
            detail: other.to_string(),
        },
    }
}

//! Typed values in sled's one tree: a versioned envelope each, cut into chunks where it is large.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::sled::IVec;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::folder::Folder;
use super::layout::{HASHES, bucket_key, chunk_key, hashes_key};
use super::mend;
use crate::envelope::{decode, encode_into};
use crate::ledger::LedgerError;
use crate::{fault, panic};

/// In place of an envelope's version: the value stands elsewhere, under its chunks' name and number.
const SPILLED: u8 = 0;
/// A leaf of the tree holds up to 17 values and must stay under 128 KiB: past that, sled moves it to a file that it
/// never syncs.
pub(super) const LARGEST_INLINE: usize = 4096;

/// How many keys are read at once.
pub(super) const PAGE: usize = 256;

/// A key, and the chunks of its value.
pub(super) type Row = (Vec<u8>, Option<Spill>);

/// sled, with its errors sorted and its panics caught.
pub(super) struct Store {
    db: ::sled::Db,
    path: PathBuf,
}

/// The chunks a value was spilled into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spill {
    name: u64,
    chunks: u32,
}

impl Store {
    /// Opens a data folder's files, after mending what a power cut left of them.
    pub(super) fn begin(folder: &Folder, cache_bytes: u64) -> Result<Self, LedgerError> {
        let log = folder.lock_log()?;
        mend::mend(folder).map_err(|error| folder.refused(&error))?;
        drop(log);
        let store = Self::open(&folder.tree(), cache_bytes)?;
        // sled may have written its settings, and put a new snapshot in place of the old one: what comes relies on both.
        folder.sync_tree()?;
        Ok(store)
    }

    /// Opens sled's files. A panic here is damage: sled unwraps what it reads.
    fn open(path: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            // sled collects its garbage in this period only; the durability is ours.
            .flush_every_ms(Some(500));
        catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|caught| LedgerError::Damaged { path: path.to_owned(), detail: panic::text(&*caught) })?
            .map(|db| Self { db, path: path.to_owned() })
            .map_err(|error| sorted(path, error))
    }

    /// Runs one of sled's calls.
    fn call<T>(&self, work: impl FnOnce(&::sled::Tree) -> ::sled::Result<T>) -> Result<T, LedgerError> {
        catch_unwind(AssertUnwindSafe(|| work(&self.db)))
            .map_err(|caught| LedgerError::Poisoned { path: self.path.clone(), detail: panic::text(&*caught) })?
            .map_err(|error| sorted(&self.path, error))
    }

    /// Reads a value, and the chunks it is to be removed with.
    pub(super) fn get<T: for<'b> Decode<'b, ()>>(&self, key: &[u8]) -> Result<Option<(T, Option<Spill>)>, LedgerError> {
        loop {
            let Some(head) = self.call(|tree| tree.get(key))? else {
                return Ok(None);
            };
            let Some(spill) = Spill::read(&head) else {
                return Ok(Some((decode(&head)?, None)));
            };
            if let Some(envelope) = self.gather(spill)? {
                return Ok(Some((decode(&envelope)?, Some(spill))));
            }
            // The value was replaced between the two reads, or its chunks are gone for good.
            if self.call(|tree| tree.get(key))?.as_ref() == Some(&head) {
                return Err(LedgerError::Record { detail: "its chunks are missing".to_owned() });
            }
        }
    }

    /// Whether there is a value, and the chunks it is to be removed with.
    pub(super) fn head(&self, key: &[u8]) -> Result<Option<Option<Spill>>, LedgerError> {
        Ok(self.call(|tree| tree.get(key))?.map(|head| Spill::read(&head)))
    }

    fn gather(&self, spill: Spill) -> Result<Option<Vec<u8>>, LedgerError> {
        let mut envelope = Vec::new();
        for index in 0..spill.chunks {
            let Some(chunk) = self.call(|tree| tree.get(chunk_key(spill.name, index)))? else {
                return Ok(None);
            };
            envelope.extend_from_slice(&chunk);
        }
        Ok(Some(envelope))
    }

    /// Up to `limit` keys that begin so, after one (or from the first), and the chunks they are to be removed with.
    pub(super) fn rows(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Row>, LedgerError> {
        let start = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        self.call(|tree| {
            let rows = tree.range::<&[u8], _>((start, Bound::Unbounded)).take_while(|row| starts(row, prefix));
            rows.take(limit).map(|row| row.map(|(key, value)| (key.to_vec(), Spill::read(&value)))).collect()
        })
    }

    /// Counts the keys that begin so, after one, up to `limit`; and the last of them.
    pub(super) fn count(&self, prefix: &[u8], after: &[u8], limit: u64) -> Result<(u64, Vec<u8>), LedgerError> {
        let start = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        self.call(|tree| {
            let (mut count, mut last) = (0, None);
            for row in tree.range::<&[u8], _>((start, Bound::Unbounded)).take_while(|row| starts(row, prefix)) {
                last = Some(row?.0);
                count += 1;
                if count >= limit {
                    break;
                }
            }
            Ok((count, last.map(|key| key.to_vec()).unwrap_or_default()))
        })
    }

    /// Reads all values whose keys begin so, in order. One that cannot be read is handed over as an error of its own.
    pub(super) fn each<T: for<'b> Decode<'b, ()>>(
        &self,
        prefix: &[u8],
        mut take: impl FnMut(&[u8], Result<T, LedgerError>) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mut after = Vec::new();
        loop {
            let keys = self.rows(prefix, &after, PAGE)?;
            for (key, _) in &keys {
                match self.get(key) {
                    Ok(Some((value, _))) => take(key, Ok(value))?,
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
    pub(super) fn keys(&self, prefix: &[u8], mut visit: impl FnMut(&[u8])) -> Result<(), LedgerError> {
        self.call(|tree| tree.scan_prefix(prefix).keys().try_for_each(|key| key.map(|key| visit(&key))))
    }

    /// The last key that begins so.
    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        self.call(|tree| tree.scan_prefix(prefix).keys().next_back().map(|key| key.map(|key| key.to_vec())).transpose())
    }

    /// Whether a closed bucket's list has this hash.
    pub(super) fn lists(&self, bucket: u32, hash: u64) -> Result<bool, LedgerError> {
        let key = hashes_key(bucket, hash);
        let row = self.call(|tree| tree.range(..=key.as_slice()).next_back().transpose())?;
        let Some((_, list)) = row.filter(|(key, _)| key.starts_with(&bucket_key(HASHES, bucket))) else {
            return Ok(false);
        };
        let list: ByteVec = decode(&list)?;
        Ok(hashes(&list).any(|listed| listed == hash))
    }

    /// Up to `limit` keys of a kind before one, backwards.
    pub(super) fn keys_before(&self, kind: u8, before: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
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
        self.call(|_| self.db.size_on_disk())
    }

    pub(super) fn damaged(&self, detail: String) -> LedgerError {
        LedgerError::Damaged { path: self.path.clone(), detail }
    }

    /// Writes a batch, all of it or nothing, and hands it to the operating system.
    pub(super) fn write(&self, batch: Batch) -> Result<(), LedgerError> {
        self.call(|tree| {
            tree.apply_batch(batch.writes)?;
            fault::point!(APPLIED);
            tree.flush().map(|_| ())
        })
    }

    /// Lets go of sled without its clean-up, which might wait for what panicked.
    pub(super) fn abandon(self) {
        std::mem::forget(self.db);
    }
}

/// Writes that are to happen together.
#[derive(Default)]
pub(super) struct Batch {
    writes: ::sled::Batch,
    /// What is being encoded: sled copies it.
    scratch: Vec<u8>,
}

impl Batch {
    /// Puts a value in place of an old one. `number` gives names for chunks.
    pub(super) fn put<T: Encode<()>>(
        &mut self,
        key: Vec<u8>,
        value: &T,
        old: Option<Spill>,
        number: &mut u64,
    ) -> Result<Option<Spill>, LedgerError> {
        self.drop_chunks(old);
        self.encode(value)?;
        if self.scratch.len() <= LARGEST_INLINE {
            self.writes.insert(key, self.scratch.as_slice());
            return Ok(None);
        }
        *number += 1;
        let mut spill = Spill { name: *number, chunks: 0 };
        for chunk in self.scratch.chunks(LARGEST_INLINE) {
            self.writes.insert(chunk_key(spill.name, spill.chunks), chunk);
            spill.chunks += 1;
        }
        self.writes.insert(key, spill.write());
        Ok(Some(spill))
    }

    /// Puts a value that is known to be small.
    pub(super) fn insert<T: Encode<()>>(&mut self, key: Vec<u8>, value: &T) -> Result<(), LedgerError> {
        self.encode(value)?;
        self.writes.insert(key, self.scratch.as_slice());
        Ok(())
    }

    fn encode<T: Encode<()>>(&mut self, value: &T) -> Result<(), LedgerError> {
        self.scratch.clear();
        encode_into(value, &mut self.scratch)
    }

    pub(super) fn remove(&mut self, key: &[u8], old: Option<Spill>) {
        self.drop_chunks(old);
        self.writes.remove(key);
    }

    /// Removes all values whose keys begin so.
    pub(super) fn remove_all(&mut self, store: &Store, prefix: &[u8]) -> Result<(), LedgerError> {
        for (key, spill) in store.rows(prefix, &[], usize::MAX)? {
            self.remove(&key, spill);
        }
        Ok(())
    }

    fn drop_chunks(&mut self, old: Option<Spill>) {
        let Some(Spill { name, chunks }) = old else { return };
        (0..chunks).for_each(|index| self.writes.remove(chunk_key(name, index)));
    }
}

impl Spill {
    fn read(head: &[u8]) -> Option<Self> {
        let (&SPILLED, rest) = head.split_first()? else {
            return None;
        };
        let (name, chunks) = rest.split_first_chunk::<8>()?;
        Some(Self { name: u64::from_be_bytes(*name), chunks: u32::from_be_bytes(chunks.try_into().ok()?) })
    }

    fn write(self) -> Vec<u8> {
        let mut head = vec![SPILLED];
        head.extend_from_slice(&self.name.to_be_bytes());
        head.extend_from_slice(&self.chunks.to_be_bytes());
        head
    }
}

/// A list of hashes.
pub(super) fn hashes(list: &[u8]) -> impl Iterator<Item = u64> {
    list.as_chunks().0.iter().map(|hash| u64::from_be_bytes(*hash))
}

fn starts(row: &::sled::Result<(IVec, IVec)>, prefix: &[u8]) -> bool {
    row.as_ref().map_or(true, |(key, _)| key.starts_with(prefix))
}

fn sorted(path: &Path, error: ::sled::Error) -> LedgerError {
    match error {
        ::sled::Error::Io(error) => LedgerError::of_io(path, &error),
        other => LedgerError::Damaged { path: path.to_owned(), detail: other.to_string() },
    }
}

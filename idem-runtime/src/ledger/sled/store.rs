//! Typed values in sled's one tree: a versioned envelope each, cut into chunks where it is large.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use minicbor::{Decode, Encode};

use super::layout::{Counts, chunk_key};
use crate::envelope::{decode, encode};
use crate::ledger::LedgerError;
use crate::panic;

/// In place of an envelope's version: the value stands elsewhere, under its chunks' name and number.
const SPILLED: u8 = 0;
/// A leaf of the tree holds up to 17 values and must stay under 128 KiB: past that, sled moves it to a file that it
/// never syncs.
const LARGEST_INLINE: usize = 4096;

/// sled, with its errors sorted and its panics caught.
pub(super) struct Store {
    db: ::sled::Db,
    path: PathBuf,
}

/// How long an earlier sled of this process may take to let go of its files.
const LETTING_GO: Duration = Duration::from_secs(10);

/// The chunks a value was spilled into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spill {
    name: u64,
    chunks: u32,
}

impl Store {
    /// Opens sled's files. A panic here is damage: sled unwraps what it reads.
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            // sled collects its garbage in this period only; the durability is ours.
            .flush_every_ms(Some(500));
        let deadline = Instant::now() + LETTING_GO;
        loop {
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .map_err(|caught| LedgerError::Damaged { path: path.to_owned(), detail: panic::text(&*caught) })?;
            match opened {
                Ok(db) => return Ok(Self { db, path: path.to_owned() }),
                // The folder is ours already, so it is our own last sled whose threads have not let go yet.
                Err(::sled::Error::Io(error)) if is_lock(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(sorted(path, error)),
            }
        }
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

    /// The next `limit` keys of a kind, after one; newest names last.
    pub(super) fn keys_after(&self, kind: u8, after: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        let start = if after.first() == Some(&kind) { after.to_vec() } else { vec![kind] };
        let mut keys = Vec::new();
        self.call(|tree| {
            for key in tree.range(start.as_slice()..[kind + 1].as_slice()).keys() {
                let key = key?;
                if key.as_ref() != start.as_slice() {
                    keys.push(key.to_vec());
                }
                if keys.len() >= limit {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(keys)
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

    /// Counts what there is, by reading all of it.
    pub(super) fn count(&self) -> Result<Counts, LedgerError> {
        self.call(|tree| {
            let mut counts = Counts::default();
            for key in tree.iter().keys() {
                if let Some(count) = key?.first().and_then(|kind| counts.of(*kind)) {
                    *count += 1;
                }
            }
            Ok(counts)
        })
    }

    /// Writes a batch, all of it or nothing, and hands it to the operating system.
    pub(super) fn write(&self, batch: Batch) -> Result<(), LedgerError> {
        self.call(|tree| {
            tree.apply_batch(batch.writes)?;
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
        let envelope = encode(value)?;
        self.drop_chunks(old);
        if envelope.len() <= LARGEST_INLINE {
            self.writes.insert(key, envelope);
            return Ok(None);
        }
        *number += 1;
        let mut spill = Spill { name: *number, chunks: 0 };
        for chunk in envelope.chunks(LARGEST_INLINE) {
            self.writes.insert(chunk_key(spill.name, spill.chunks), chunk);
            spill.chunks += 1;
        }
        self.writes.insert(key, spill.write());
        Ok(Some(spill))
    }

    pub(super) fn remove(&mut self, key: &[u8], old: Option<Spill>) {
        self.drop_chunks(old);
        self.writes.remove(key);
    }

    fn drop_chunks(&mut self, old: Option<Spill>) {
        for index in 0..old.map_or(0, |spill| spill.chunks) {
            if let Some(spill) = old {
                self.writes.remove(chunk_key(spill.name, index));
            }
        }
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

fn is_lock(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn sorted(path: &Path, error: ::sled::Error) -> LedgerError {
    match error {
        ::sled::Error::Io(error) => LedgerError::of_io(path, &error),
        other => LedgerError::Damaged { path: path.to_owned(), detail: other.to_string() },
    }
}

//! The index of settled records: it tells which buckets may hold a key, without a read.
//!
//! Results come to stand in buckets in the order of time, so sled writes where it wrote a moment
//! ago however many results there are; a filter for each bucket makes up for not knowing in which
//! one a key is.

use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastbloom::AtomicBloomFilter;
use parking_lot::RwLock;
use siphasher::sip::SipHasher13;

use super::layout::RecordKey;
use super::store::Store;
use crate::ledger::LedgerError;
use crate::protocol::Settled;

/// How often a filter takes a key for one of its own: with fifty buckets, one claim in twenty reads
/// sled in vain.
const FALSE_POSITIVES: f64 = 0.001;

/// The buckets that are not dropped.
pub(super) struct Index {
    seed: (u64, u64),
    filters: RwLock<Vec<Arc<Bucket>>>,
}

/// One bucket's filter.
pub(super) struct Bucket {
    pub(super) id: u32,
    filter: AtomicBloomFilter,
    /// Whether the bucket is closed: its hashes are written, and a missing record is lost.
    closed: AtomicBool,
}

/// A settled record where it stands.
pub(super) struct Found {
    pub(super) settled: Settled,
    pub(super) bucket: u32,
}

impl Bucket {
    /// Returns the filter of a bucket for so many records, with these in it.
    pub(super) fn new(id: u32, capacity: u64, hashes: &[u64]) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX).max(1);
        let filter = AtomicBloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(capacity);
        for hash in hashes {
            filter.insert_hash(*hash);
        }
        Self {
            id,
            filter,
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn insert(&self, hash: u64) {
        self.filter.insert_hash(hash);
    }

    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.filter.contains_hash(hash)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl Index {
    pub(super) fn new(seed: (u64, u64), filters: Vec<Arc<Bucket>>) -> Self {
        Self {
            seed,
            filters: RwLock::new(filters),
        }
    }

    /// The hash that filters and lists of hashes know a record by. It is written down, so it stays
    /// as it is.
    pub(super) fn hash(&self, record_key: &RecordKey) -> u64 {
        hash(self.seed, record_key.bytes())
    }

    pub(super) fn replace(&self, filters: Vec<Arc<Bucket>>) {
        *self.filters.write() = filters;
    }

    pub(super) fn add(&self, bucket: Arc<Bucket>) {
        self.filters.write().push(bucket);
    }

    /// A bucket takes no more, and this one, which holds the same, stands for it.
    pub(super) fn close(&self, bucket: Arc<Bucket>) {
        bucket.close();
        if let Some(known) = self
            .filters
            .write()
            .iter_mut()
            .find(|known| known.id == bucket.id)
        {
            *known = bucket;
        }
    }

    /// The bits of all filters.
    #[cfg(test)]
    pub(super) fn bits(&self) -> usize {
        self.filters
            .read()
            .iter()
            .map(|bucket| bucket.filter.num_bits())
            .sum()
    }

    pub(super) fn remove(&self, bucket: u32) {
        self.filters.write().retain(|known| known.id != bucket);
    }

    /// Returns whether a bucket is still one of these.
    pub(super) fn has(&self, bucket: u32) -> bool {
        self.filters.read().iter().any(|known| known.id == bucket)
    }

    /// Reads a settled record. A key can have older, expired ones in other buckets: the last one
    /// counts.
    pub(super) fn find(
        &self,
        store: &Store,
        record_key: &RecordKey,
    ) -> Result<Option<Found>, LedgerError> {
        self.search(store, record_key, |_, _| Ok(()))
    }

    /// [`find`](Self::find), and an error where a bucket once had the record and has it no more.
    pub(super) fn find_surely(
        &self,
        store: &Store,
        record_key: &RecordKey,
    ) -> Result<Option<Found>, LedgerError> {
        self.search(store, record_key, |bucket, hash| {
            match bucket.is_closed() && store.lists(bucket.id, hash)? {
                true => Err(store.damaged(format!(
                    "a settled record of bucket {} is missing",
                    bucket.id
                ))),
                false => Ok(()),
            }
        })
    }

    fn search(
        &self,
        store: &Store,
        record_key: &RecordKey,
        missing: impl Fn(&Bucket, u64) -> Result<(), LedgerError>,
    ) -> Result<Option<Found>, LedgerError> {
        let hash = self.hash(record_key);
        let mut last: Option<Found> = None;
        for bucket in self
            .filters
            .read()
            .iter()
            .rev()
            .filter(|bucket| bucket.may_hold(hash))
        {
            match store.get::<Settled>(&record_key.in_bucket(bucket.id))? {
                None => missing(bucket, hash)?,
                Some(settled) => {
                    // One that was taken back has the token of the one that took its place.
                    let is_later = |last: &Found| {
                        (last.settled.token, last.settled.at) < (settled.token, settled.at)
                    };
                    if last.as_ref().is_none_or(is_later) {
                        last = Some(Found {
                            settled,
                            bucket: bucket.id,
                        });
                    }
                }
            }
        }
        Ok(last)
    }
}

pub(super) fn hash(seed: (u64, u64), record_key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed.0, seed.1);
    hasher.write(record_key);
    hasher.finish()
}

//! The committer's side of the buckets: it chooses one for each result, closes them, and drops
//! them.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use minicbor::bytes::ByteVec;

use super::batch::Batch;
use super::filters::{Bucket, Index};
use super::layout::{
    BUCKET, BucketStats, ClosedBucket, HASHES, Meta, OpenBucket, RecordKey, SETTLED, bucket_key,
    hashes_key,
};
use crate::clock;
use crate::ledger::LedgerError;
use crate::protocol::Settled;

/// A bucket takes at least so many records, and at most a share of all, so that there are few
/// filters to read.
const SMALLEST: u64 = 100_000;
const SHARE: u64 = 32;
/// The shortest and the longest class of times to live, in bits of milliseconds. With two bits to a
/// class there are 16, and so many open buckets at most: the journal's entries have room for them.
const CLASSES: RangeInclusive<u8> = 17..=47;
/// A bucket is closed after a part of its times to live, but none is younger.
const PART: u32 = 8;
const YOUNGEST: Duration = Duration::from_secs(60);
/// How many hashes a value holds, so that sled keeps it inline.
const HASHES_A_VALUE: usize = 500;

/// The committer's state of the buckets.
#[derive(Default)]
pub(super) struct Buckets {
    last: u32,
    open: Vec<Open>,
    closed: Vec<(u32, BucketStats)>,
    /// The buckets that are being removed, and the last key that was removed of each.
    dropped: VecDeque<(u32, Vec<u8>)>,
}

struct Open {
    info: OpenBucket,
    capacity: u64,
    hashes: Vec<u64>,
    bucket: Arc<Bucket>,
}

impl Buckets {
    pub(super) fn new(last: u32, closed: Vec<(u32, BucketStats)>, dropped: Vec<u32>) -> Self {
        Self {
            last,
            open: Vec::new(),
            closed,
            dropped: dropped.into_iter().map(|id| (id, Vec::new())).collect(),
        }
    }

    /// Goes on with a bucket that was open when the ledger was closed, and makes its filter.
    pub(super) fn resume(&mut self, mut info: OpenBucket, hashes: Vec<u64>) -> Arc<Bucket> {
        // Earlier versions had a class for each bit.
        info.class = class_of_bits(info.class);
        let capacity = self.capacity().max(info.stats.count);
        let bucket = Arc::new(Bucket::new(info.id, capacity, &hashes));
        self.open.push(Open {
            info,
            capacity,
            hashes,
            bucket: Arc::clone(&bucket),
        });
        bucket
    }

    /// Writes the buckets into the ledger's numbers.
    pub(super) fn note(&self, meta: &mut Meta) {
        meta.bucket = self.last;
        meta.open = self.open.iter().map(|open| open.info).collect();
    }

    fn capacity(&self) -> u64 {
        let settled: u64 = self.closed.iter().map(|(_, stats)| stats.count).sum();
        SMALLEST.max(settled / SHARE)
    }
}

/// The buckets, for one group to write to.
pub(super) struct BucketWriter<'a, 's> {
    pub(super) buckets: &'a mut Buckets,
    pub(super) index: &'a Index,
    pub(super) batch: &'a mut Batch<'s>,
    pub(super) meta: &'a mut Meta,
    pub(super) now: Timestamp,
}

impl BucketWriter<'_, '_> {
    /// Puts a settled record into the bucket of its time to live, and returns the bucket's id.
    pub(super) fn settle(
        &mut self,
        record_key: &RecordKey,
        settled: &Settled,
    ) -> Result<u32, LedgerError> {
        let class = class_of(settled.ttl);
        let at = match self
            .buckets
            .open
            .iter()
            .position(|open| open.info.class == class)
        {
            Some(at) => at,
            None => self.open(class),
        };
        let open = &mut self.buckets.open[at];
        let (key, hash) = (
            record_key.in_bucket(open.info.id),
            self.index.hash(record_key),
        );
        // Most are new here, and cost sled no read.
        let replaced = if open.bucket.may_hold(hash) {
            self.batch.put(key, settled, self.meta)?
        } else {
            self.batch.add(key, settled, self.meta)?;
            false
        };
        if !replaced {
            open.info.stats.count += 1;
            open.hashes.push(hash);
            open.bucket.insert(hash);
        }
        open.info.stats.until = open
            .info
            .stats
            .until
            .max(clock::after(settled.at, settled.ttl));
        Ok(open.info.id)
    }

    fn open(&mut self, class: u8) -> usize {
        self.buckets.last += 1;
        let stats = BucketStats {
            count: 0,
            until: self.now,
        };
        let info = OpenBucket {
            id: self.buckets.last,
            class,
            since: self.now,
            stats,
        };
        let bucket = self.buckets.resume(info, Vec::new());
        self.index.add(bucket);
        self.buckets.open.len() - 1
    }

    /// Closes the buckets that are full or old enough, and returns their filters for the index,
    /// which takes them once the group is durable.
    pub(super) fn close(&mut self) -> Result<Vec<Arc<Bucket>>, LedgerError> {
        let mut closed = Vec::new();
        while let Some(at) = self.to_close() {
            let Open {
                info,
                capacity,
                hashes,
                mut bucket,
            } = self.buckets.open.swap_remove(at);
            // A filter for a hundred thousand takes 180 kB, and most buckets that close by their
            // age hold few.
            if info.stats.count < capacity / 2 {
                bucket = Arc::new(Bucket::new(info.id, info.stats.count, &hashes));
            }
            close_bucket(self.batch, self.meta, info.id, info.stats, hashes)?;
            self.buckets.closed.push((info.id, info.stats));
            closed.push(bucket);
        }
        Ok(closed)
    }

    fn to_close(&self) -> Option<usize> {
        let open = &self.buckets.open;
        let ripe = |open: &Open| {
            open.info.stats.count >= open.capacity
                || self.now >= clock::after(open.info.since, age_of(open.info.class))
        };
        open.iter().position(ripe)
    }

    /// Drops the buckets whose last record has expired, and removes up to `limit` records of
    /// dropped ones. Returns the number of removed records.
    pub(super) fn expire(&mut self, limit: usize) -> Result<usize, LedgerError> {
        let now = self.now;
        let open = self
            .buckets
            .open
            .extract_if(.., |open| open.info.stats.until <= now);
        let mut over: Vec<_> = open.map(|open| (open.info.id, open.info.stats)).collect();
        over.extend(
            self.buckets
                .closed
                .extract_if(.., |(_, stats)| stats.until <= now),
        );
        for (id, stats) in over {
            self.batch.put(
                bucket_key(BUCKET, id),
                &ClosedBucket {
                    stats,
                    dropped: true,
                },
                self.meta,
            )?;
            self.index.remove(id);
            self.buckets.dropped.push_back((id, Vec::new()));
        }
        let mut removed = 0;
        while let Some((id, after)) = self.buckets.dropped.front_mut().filter(|_| removed < limit) {
            let (some, last) = self.batch.remove_some(
                &bucket_key(SETTLED, *id),
                after,
                limit - removed,
                self.meta,
            )?;
            removed += some;
            match last {
                Some(last) if removed >= limit => *after = last,
                _ => {
                    self.batch
                        .remove_some(&bucket_key(HASHES, *id), &[], usize::MAX, self.meta)?;
                    self.batch.remove(&bucket_key(BUCKET, *id), self.meta)?;
                    self.buckets.dropped.pop_front();
                }
            }
        }
        Ok(removed)
    }

    /// Returns whether no dropped bucket is left.
    pub(super) fn is_swept(&self) -> bool {
        self.buckets.dropped.is_empty()
    }
}

/// Writes a bucket as closed, with the hashes of its records.
pub(super) fn close_bucket(
    batch: &mut Batch<'_>,
    meta: &mut Meta,
    id: u32,
    stats: BucketStats,
    mut hashes: Vec<u64>,
) -> Result<(), LedgerError> {
    hashes.sort_unstable();
    for hashes in hashes.chunks(HASHES_A_VALUE) {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
        let first = hashes.first().copied().unwrap_or_default();
        batch.insert(hashes_key(id, first), &ByteVec::from(bytes))?;
    }
    batch.put(
        bucket_key(BUCKET, id),
        &ClosedBucket {
            stats,
            dropped: false,
        },
        meta,
    )?;
    Ok(())
}

/// Times to live of about the same length belong together: then a bucket expires as a whole.
fn class_of(ttl: Duration) -> u8 {
    let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    class_of_bits((u64::BITS - millis.leading_zeros()) as u8)
}

fn class_of_bits(bits: u8) -> u8 {
    (bits | 1).clamp(*CLASSES.start(), *CLASSES.end())
}

fn age_of(class: u8) -> Duration {
    let longest = Duration::from_millis(1u64.checked_shl(class.into()).unwrap_or(u64::MAX));
    (longest / PART).max(YOUNGEST)
}

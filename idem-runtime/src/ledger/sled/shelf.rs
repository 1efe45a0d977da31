//! The committer's side of the buckets: which one takes a result, when one is closed, when one is dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use minicbor::bytes::ByteVec;

use super::batch::Batch;
use super::index::{Bucket, Index};
use super::layout::{BUCKET, ClosedBucket, HASHES, Holds, Meta, OpenBucket, SETTLED, Slot, bucket_key, hashes_key};
use crate::clock;
use crate::ledger::LedgerError;
use crate::protocol::Settled;

/// A bucket takes at least so many records, and at most a share of all, so that there are few filters to ask.
const SMALLEST: u64 = 100_000;
const SHARE: u64 = 32;
/// So many open buckets fit the journal's entries.
const MOST_OPEN: usize = 16;
/// A bucket is closed after a part of its times to live, but none is younger.
const PART: u32 = 8;
const YOUNGEST: Duration = Duration::from_secs(60);
/// How many hashes a value holds, so that sled keeps it inline.
const HASHES_A_VALUE: usize = 500;

/// What the committer knows of the buckets.
#[derive(Default)]
pub(super) struct Shelf {
    last: u32,
    open: Vec<Open>,
    closed: Vec<(u32, Holds)>,
    /// What is being removed, and after which key to go on.
    dropped: VecDeque<(u32, Vec<u8>)>,
}

struct Open {
    info: OpenBucket,
    capacity: u64,
    hashes: Vec<u64>,
    bucket: Arc<Bucket>,
}

impl Shelf {
    pub(super) fn new(last: u32, closed: Vec<(u32, Holds)>, dropped: Vec<u32>) -> Self {
        Self { last, open: Vec::new(), closed, dropped: dropped.into_iter().map(|id| (id, Vec::new())).collect() }
    }

    /// Goes on with a bucket that was open when the ledger was closed, and makes its filter.
    pub(super) fn resume(&mut self, info: OpenBucket, hashes: Vec<u64>) -> Arc<Bucket> {
        let capacity = self.capacity().max(info.holds.count);
        let bucket = Arc::new(Bucket::of(info.id, capacity, &hashes));
        self.open.push(Open { info, capacity, hashes, bucket: Arc::clone(&bucket) });
        bucket
    }

    /// What the ledger's numbers say of the buckets.
    pub(super) fn note(&self, meta: &mut Meta) {
        meta.bucket = self.last;
        meta.open = self.open.iter().map(|open| open.info).collect();
    }

    fn capacity(&self) -> u64 {
        let settled: u64 = self.closed.iter().map(|(_, holds)| holds.count).sum();
        SMALLEST.max(settled / SHARE)
    }
}

/// What a group does to the buckets.
pub(super) struct Shelving<'a, 'b> {
    pub(super) shelf: &'a mut Shelf,
    pub(super) index: &'a Index,
    pub(super) batch: &'a mut Batch<'b>,
    pub(super) meta: &'a mut Meta,
    pub(super) now: Timestamp,
}

impl Shelving<'_, '_> {
    /// Puts a settled record into a bucket.
    pub(super) fn settle(&mut self, slot: &Slot, settled: &Settled) -> Result<(), LedgerError> {
        let at = self.place(class_of(settled.ttl));
        let open = &mut self.shelf.open[at];
        let (key, hash) = (slot.in_bucket(open.info.id), self.index.hash(slot));
        // It may stand here already, as it was before, or an older one that has expired by now.
        let stood = if open.bucket.may_hold(hash) {
            self.batch.put(key, settled, self.meta)?
        } else {
            self.batch.add(key, settled, self.meta)?;
            false
        };
        if !stood {
            open.info.holds.count += 1;
            open.hashes.push(hash);
            open.bucket.insert(hash);
        }
        open.info.holds.until = open.info.holds.until.max(clock::after(settled.at, settled.ttl));
        Ok(())
    }

    /// The bucket for times to live of a class: its own, and where there are enough already, that of the next longer class
    /// which has one, or the longest. A record outlives its time there, and expires all the same.
    fn place(&mut self, class: u8) -> usize {
        let open = &self.shelf.open;
        let class_at = |at: &usize| open[*at].info.class;
        let places = || 0..open.len();
        let own = places().find(|at| class_at(at) == class);
        let other = || {
            let longer = places().filter(|at| class_at(at) > class).min_by_key(class_at);
            longer.or_else(|| places().max_by_key(class_at)).filter(|_| open.len() >= MOST_OPEN)
        };
        match own.or_else(other) {
            Some(at) => at,
            None => self.open(class),
        }
    }

    fn open(&mut self, class: u8) -> usize {
        self.shelf.last += 1;
        let holds = Holds { count: 0, until: self.now };
        let info = OpenBucket { id: self.shelf.last, class, since: self.now, holds };
        let bucket = self.shelf.resume(info, Vec::new());
        self.index.add(bucket);
        self.shelf.open.len() - 1
    }

    /// Closes the buckets that are full or old enough. They are to be marked so once the group is durable.
    pub(super) fn close(&mut self) -> Result<Vec<Arc<Bucket>>, LedgerError> {
        let mut closed = Vec::new();
        while let Some(at) = self.to_close() {
            let Open { info, hashes, bucket, .. } = self.shelf.open.swap_remove(at);
            close_bucket(self.batch, info.id, info.holds, hashes, self.meta)?;
            self.shelf.closed.push((info.id, info.holds));
            closed.push(bucket);
        }
        Ok(closed)
    }

    fn to_close(&self) -> Option<usize> {
        let open = &self.shelf.open;
        let ripe = |open: &Open| {
            open.info.holds.count >= open.capacity || self.now >= clock::after(open.info.since, age_of(open.info.class))
        };
        open.iter().position(ripe)
    }

    /// Drops the buckets whose last record has expired, and removes up to `limit` of what was in dropped ones. Says how
    /// many it removed.
    pub(super) fn expire(&mut self, limit: usize) -> Result<usize, LedgerError> {
        let now = self.now;
        let open = self.shelf.open.extract_if(.., |open| open.info.holds.until <= now);
        let mut over: Vec<_> = open.map(|open| (open.info.id, open.info.holds)).collect();
        over.extend(self.shelf.closed.extract_if(.., |(_, holds)| holds.until <= now));
        for (id, holds) in over {
            self.batch.put(bucket_key(BUCKET, id), &ClosedBucket { holds, dropped: true }, self.meta)?;
            self.index.remove(id);
            self.shelf.dropped.push_back((id, Vec::new()));
        }
        let mut removed = 0;
        while let Some((id, after)) = self.shelf.dropped.front_mut().filter(|_| removed < limit) {
            let wanted = limit - removed;
            let rows = self.batch.rows(&bucket_key(SETTLED, *id), after, wanted)?;
            removed += rows.len();
            match rows.last() {
                Some((key, _)) if removed >= limit => after.clone_from(key),
                _ => {
                    self.batch.remove_all(&bucket_key(HASHES, *id))?;
                    self.batch.remove(&bucket_key(BUCKET, *id), self.meta)?;
                    self.shelf.dropped.pop_front();
                }
            }
            rows.into_iter().for_each(|row| self.batch.remove_row(row));
        }
        Ok(removed)
    }

    /// Whether nothing that was dropped is left.
    pub(super) fn is_swept(&self) -> bool {
        self.shelf.dropped.is_empty()
    }
}

/// Writes down that a bucket takes no more, and what is in it.
pub(super) fn close_bucket(
    batch: &mut Batch<'_>,
    id: u32,
    holds: Holds,
    mut hashes: Vec<u64>,
    meta: &mut Meta,
) -> Result<(), LedgerError> {
    hashes.sort_unstable();
    for hashes in hashes.chunks(HASHES_A_VALUE) {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
        let first = hashes.first().copied().unwrap_or_default();
        batch.insert(hashes_key(id, first), &ByteVec::from(bytes))?;
    }
    batch.put(bucket_key(BUCKET, id), &ClosedBucket { holds, dropped: false }, meta).map(drop)
}

/// Times to live of about the same length belong together: then a bucket expires as a whole.
fn class_of(ttl: Duration) -> u8 {
    let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    (u64::BITS - millis.leading_zeros()) as u8
}

fn age_of(class: u8) -> Duration {
    let longest = Duration::from_millis(1u64.checked_shl(class.into()).unwrap_or(u64::MAX));
    (longest / PART).max(YOUNGEST)
}

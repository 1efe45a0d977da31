//! Opening: reads what there is, and refuses it where something is missing.

use std::path::Path;
use std::sync::Arc;

use minicbor::bytes::ByteVec;

use super::batch::Batch;
use super::group::State;
use super::index::{Bucket, hash};
use super::journal::{Draft, Entry, Journal, Moves, RING, Running};
use super::layout::{
    BUCKET, COUNTED, ClosedBucket, Counts, HASHES, Holds, JOURNAL, Meta, SETTLED, bucket_in, bucket_key,
};
use super::rescue;
use super::shelf::Shelf;
use super::store::{Store, hashes};
use crate::ledger::LedgerError;

/// What was read.
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) running: Running,
    pub(super) buckets: Vec<Arc<Bucket>>,
    /// Closed buckets, and how much they should hold.
    pub(super) closed: Vec<(u32, Holds)>,
}

impl Opened {
    /// Reads a ledger of which this group was acknowledged. Where nothing says so, goes on with what is there.
    pub(super) fn read(store: &Store, path: &Path, acknowledged: Option<u64>) -> Result<Self, LedgerError> {
        if acknowledged.is_none() {
            rescue::rescue(store)?;
        }
        Self::whole(store, path, acknowledged.unwrap_or(0)).map_err(|error| match error {
            // What is always there cannot be read.
            LedgerError::Record { detail } => LedgerError::Damaged { path: path.to_owned(), detail },
            other => other,
        })
    }

    fn whole(store: &Store, path: &Path, acknowledged: u64) -> Result<Self, LedgerError> {
        let damaged = |detail| LedgerError::Damaged { path: path.to_owned(), detail };
        let entries = entries(store)?;
        let (mut meta, group) = match entries.last() {
            Some(Entry { meta: Some(meta), group, .. }) => (meta.clone(), *group),
            Some(Entry { number, .. }) => return Err(damaged(format!("its journal breaks off at entry {number}"))),
            None => (Meta::fresh(), 0),
        };
        if group < acknowledged {
            return Err(LedgerError::Behind { path: path.to_owned(), found: group, acknowledged });
        }
        let last = entries.last().map_or(0, |entry| entry.number);
        let expected = last - last.min(RING) + 1..=last;
        if !entries.iter().map(|entry| entry.number).eq(expected) {
            return Err(damaged(format!(
                "entries of its journal are missing: it holds {} up to {last}",
                entries.len()
            )));
        }
        let counts = counts(store)?;
        if counts != meta.counts {
            let closed_letters = meta.counts.closed_letters;
            if counts.closed_letters < closed_letters
                || counts != (Counts { closed_letters: counts.closed_letters, ..meta.counts })
            {
                return Err(damaged(format!("it holds {counts}, and should hold {}", meta.counts)));
            }
            // A closed letter too many is history and starts nothing. Any other record too many may be one that damage
            // brought back, and would run again.
            tracing::error!(holds = %counts, counted = %meta.counts, "more closed letters than were counted: nothing is missing");
            meta.counts = counts;
        }
        let (mut buckets, mut closed, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        store.each(&[BUCKET], |key, bucket| {
            let bucket: ClosedBucket = bucket?;
            match bucket_in(key) {
                id if bucket.dropped => dropped.push(id),
                id => closed.push((id, bucket.holds)),
            }
            Ok(())
        })?;
        for (id, holds) in &closed {
            let listed = listed(store, *id)?;
            if listed.len() as u64 != holds.count {
                return Err(damaged(format!("bucket {id} lists {} results of {}", listed.len(), holds.count)));
            }
            let bucket = Bucket::of(*id, holds.count, &listed);
            bucket.close();
            buckets.push(Arc::new(bucket));
        }
        let mut shelf = Shelf::new(meta.bucket, closed.clone(), dropped);
        for open in &meta.open {
            let held = held(store, open.id, meta.seed)?;
            if held.len() as u64 != open.holds.count {
                return Err(damaged(format!(
                    "bucket {} holds {} results of {}",
                    open.id,
                    held.len(),
                    open.holds.count
                )));
            }
            buckets.push(shelf.resume(*open, held));
        }
        let (journal, running) = Journal::of(entries)?;
        Ok(Self { state: State { meta, journal, shelf }, running, buckets, closed })
    }
}

impl State {
    /// Takes the ledger over: from now on groups are of the next opening.
    pub(super) fn begin(&mut self, store: &Store, running: &mut Running) -> Result<(), LedgerError> {
        self.meta.session += 1;
        let (batch, moves) = self.numbers(store, running)?;
        store.write(batch)?;
        moves.apply(running);
        Ok(())
    }

    /// A group that writes the ledger's numbers and nothing besides.
    pub(super) fn numbers<'a>(
        &mut self,
        store: &'a Store,
        running: &Running,
    ) -> Result<(Batch<'a>, Moves), LedgerError> {
        let Self { meta, journal, .. } = self;
        meta.group += 1;
        let mut batch = Batch::on(store);
        let moves = journal.write(Draft::default(), running, meta, &mut batch, |_, _| None)?;
        Ok((batch, moves))
    }
}

/// The journal's entries, in their order.
fn entries(store: &Store) -> Result<Vec<Entry>, LedgerError> {
    let mut entries = Vec::new();
    store.each(&[JOURNAL], |_, entry| {
        entries.push(entry?);
        Ok(())
    })?;
    entries.sort_by_key(|entry: &Entry| entry.number);
    Ok(entries)
}

/// How much there is of each kind.
pub(super) fn counts(store: &Store) -> Result<Counts, LedgerError> {
    let mut counts = Counts::default();
    for kind in COUNTED {
        if let Some(count) = counts.of(kind) {
            *count = store.count(&[kind], &[], u64::MAX)?.0;
        }
    }
    Ok(counts)
}

/// The hashes that are listed for a closed bucket.
pub(super) fn listed(store: &Store, bucket: u32) -> Result<Vec<u64>, LedgerError> {
    let mut all = Vec::new();
    store.each(&bucket_key(HASHES, bucket), |_, list| {
        let list: ByteVec = list?;
        all.extend(hashes(&list));
        Ok(())
    })?;
    Ok(all)
}

/// The hashes of the records that are in a bucket.
pub(super) fn held(store: &Store, bucket: u32, seed: (u64, u64)) -> Result<Vec<u64>, LedgerError> {
    let prefix = bucket_key(SETTLED, bucket);
    let mut all = Vec::new();
    store.keys(&prefix, |key| all.push(hash(seed, key.strip_prefix(prefix.as_slice()).unwrap_or_default())))?;
    Ok(all)
}

//! Opening: reads the ledger, and refuses it if something is missing.

use std::path::Path;
use std::sync::Arc;

use super::batch::Batch;
use super::buckets::Buckets;
use super::counts::{counts, listed_hashes, stored_hashes};
use super::filters::Bucket;
use super::group::State;
use super::journal::{Draft, Entry, Journal, Moves, RING, Running};
use super::layout::{BUCKET, BucketStats, ClosedBucket, Counts, JOURNAL, Meta, bucket_in};
use super::salvage;
use super::store::Store;
use crate::ledger::LedgerError;

/// A ledger that was read.
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) running: Running,
    pub(super) filters: Vec<Arc<Bucket>>,
    /// The closed buckets, with the stats they should have.
    pub(super) closed: Vec<(u32, BucketStats)>,
}

impl Opened {
    /// Reads a ledger of which this group was acknowledged. Without a group, salvages what is left.
    pub(super) fn read(
        store: &Store,
        path: &Path,
        acknowledged: Option<u64>,
    ) -> Result<Self, LedgerError> {
        if acknowledged.is_none() {
            salvage::salvage(store)?;
        }
        Self::whole(store, path, acknowledged.unwrap_or(0)).map_err(|error| match error {
            // A row that is always there cannot be read.
            LedgerError::Record { detail } => LedgerError::Damaged {
                path: path.to_owned(),
                detail,
            },
            other => other,
        })
    }

    fn whole(store: &Store, path: &Path, acknowledged: u64) -> Result<Self, LedgerError> {
        let damaged = |detail| LedgerError::Damaged {
            path: path.to_owned(),
            detail,
        };
        let entries = entries(store)?;
        let (mut meta, group) = match entries.last() {
            Some(Entry {
                meta: Some(meta),
                group,
                ..
            }) => (meta.clone(), *group),
            Some(Entry { number, .. }) => {
                return Err(damaged(format!("its journal breaks off at entry {number}")));
            }
            None => (Meta::fresh(), 0),
        };
        if group < acknowledged {
            return Err(LedgerError::Behind {
                path: path.to_owned(),
                found: group,
                acknowledged,
            });
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
                || counts
                    != (Counts {
                        closed_letters: counts.closed_letters,
                        ..meta.counts
                    })
            {
                return Err(damaged(format!(
                    "it holds {counts}, and should hold {}",
                    meta.counts
                )));
            }
            // A closed letter too many is history and starts nothing. Any other record too many may
            // be one that damage brought back, and would run again.
            tracing::error!(holds = %counts, counted = %meta.counts, "more closed letters than were counted: nothing is missing");
            meta.counts = counts;
        }
        let (mut filters, mut closed, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        store.each(&[BUCKET], |key, bucket| {
            let bucket: ClosedBucket = bucket?;
            match bucket_in(key) {
                id if bucket.dropped => dropped.push(id),
                id => closed.push((id, bucket.stats)),
            }
            Ok(())
        })?;
        for (id, stats) in &closed {
            let listed = listed_hashes(store, *id)?;
            if listed.len() as u64 != stats.count {
                return Err(damaged(format!(
                    "bucket {id} lists {} results of {}",
                    listed.len(),
                    stats.count
                )));
            }
            let bucket = Bucket::new(*id, stats.count, &listed);
            bucket.close();
            filters.push(Arc::new(bucket));
        }
        let mut buckets = Buckets::new(meta.bucket, closed.clone(), dropped);
        for open in &meta.open {
            let stored = stored_hashes(store, open.id, meta.seed)?;
            if stored.len() as u64 != open.stats.count {
                return Err(damaged(format!(
                    "bucket {} holds {} results of {}",
                    open.id,
                    stored.len(),
                    open.stats.count
                )));
            }
            filters.push(buckets.resume(*open, stored));
        }
        let (journal, running) = Journal::from_entries(entries)?;
        Ok(Self {
            state: State {
                meta,
                journal,
                buckets,
            },
            running,
            filters,
            closed,
        })
    }
}

impl State {
    /// Begins the next opening: later groups belong to it.
    pub(super) fn begin(
        &mut self,
        store: &Store,
        running: &mut Running,
    ) -> Result<(), LedgerError> {
        self.meta.session += 1;
        let (batch, moves) = self.numbers(store, running)?;
        store.write(batch)?;
        moves.apply(running);
        Ok(())
    }

    /// Returns a group that writes only the ledger's numbers.
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

#[cfg(test)]
mod tests;

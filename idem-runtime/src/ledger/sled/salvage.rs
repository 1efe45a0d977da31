//! Salvage: a person has removed the witness, so the ledger's own numbers are corrected to the rows
//! that are left, instead of refusing the folder.

use std::collections::BTreeSet;

use super::batch::Batch;
use super::buckets::close_bucket;
use super::counts::counts;
use super::filters::hash;
use super::journal::{Draft, Entry, Journal, Running};
use super::layout::{
    BUCKET, BucketStats, CHUNK, ClosedBucket, DEAD, HASHES, JOURNAL, LIVE, Meta, NOTE, SETTLED,
    bucket_in, bucket_key, number_in,
};
use super::store::Store;
use crate::clock;
use crate::failpoint;
use crate::ledger::LedgerError;
use crate::protocol::note::number_of;
use crate::protocol::{Live, Phase, Settled};

/// Makes the numbers true. A ledger with nothing in it stays as it is.
pub(super) fn salvage(store: &Store) -> Result<(), LedgerError> {
    if store.last(&[])?.is_none() {
        return Ok(());
    }
    let mut entries: Vec<Entry> = Vec::new();
    store.each(&[JOURNAL], |_, entry| {
        entries.extend(entry);
        Ok(())
    })?;
    entries.sort_by_key(|entry| entry.number);
    let newest = entries
        .iter()
        .filter_map(|entry| entry.meta.clone())
        .max_by_key(|meta| meta.group);
    let mut meta = newest.unwrap_or_else(Meta::fresh);
    meta.open.clear();
    // The journal begins anew, so what runs in it moves to places of its own.
    let (_, running) = Journal::from_entries(entries)?;
    let mut batch = Batch::on(store);
    for (record_key, claim) in running {
        batch.put(record_key.in_kind(LIVE), &claim.live, &mut meta)?;
    }
    store.write(batch)?;
    failpoint::point!(SALVAGE_MOVED);
    highest_numbers(store, &mut meta)?;
    buckets(store, &mut meta)?;
    failpoint::point!(SALVAGE_LISTED);
    meta.counts = counts(store)?;
    let mut batch = Batch::on(store);
    batch.remove_some(&[JOURNAL], &[], usize::MAX, &mut meta)?;
    Journal::default().write(
        Draft::default(),
        &Running::default(),
        &mut meta,
        &mut batch,
        |_, _| None,
    )?;
    store.write(batch)
}

/// No token, chunk's name, note's or opening's number is given out twice.
fn highest_numbers(store: &Store, meta: &mut Meta) -> Result<(), LedgerError> {
    if let Some(chunk) = store.last(&[CHUNK])? {
        meta.number = meta.number.max(u64::from_be_bytes(number_in(&chunk)));
    }
    store.keys(&[NOTE], |key| {
        let number = std::str::from_utf8(key).ok().and_then(number_of);
        meta.number = meta.number.max(number.unwrap_or(0));
    })?;
    store.each(&[LIVE], |_, live: Result<Live, _>| {
        let Ok(live) = live else { return Ok(()) };
        meta.number = meta.number.max(live.token);
        if let Phase::Running { session, .. } = live.phase {
            meta.session = meta.session.max(session);
        }
        Ok(())
    })?;
    store.each(&[DEAD], |_, dead: Result<Settled, _>| {
        meta.number = meta.number.max(dead.map_or(0, |dead| dead.token));
        Ok(())
    })
}

/// Closes every bucket that is not dropped, with the records in it.
fn buckets(store: &Store, meta: &mut Meta) -> Result<(), LedgerError> {
    let mut dropped = BTreeSet::new();
    store.each(&[BUCKET], |key, bucket: Result<ClosedBucket, _>| {
        if bucket.is_ok_and(|bucket| bucket.dropped) {
            dropped.insert(bucket_in(key));
        }
        Ok(())
    })?;
    let mut next = store.rows(&[SETTLED], &[], 1)?;
    while let Some((key, _)) = next.pop() {
        let id = bucket_in(&key);
        meta.bucket = meta.bucket.max(id);
        if !dropped.contains(&id) {
            close_again(store, id, meta)?;
        }
        next = store.rows(&[SETTLED], &bucket_key(SETTLED, id + 1), 1)?;
    }
    Ok(())
}

fn close_again(store: &Store, id: u32, meta: &mut Meta) -> Result<(), LedgerError> {
    let prefix = bucket_key(SETTLED, id);
    let mut stored = Vec::new();
    // It may be sooner than it was, for a row whose time was ended counts no more. No row brings
    // back what it hides by going first: the time of what it hides was over, or was ended, when it
    // was written.
    let mut until = jiff::Timestamp::UNIX_EPOCH;
    store.each(&prefix, |key, settled: Result<Settled, _>| {
        stored.push(hash(
            meta.seed,
            key.strip_prefix(prefix.as_slice()).unwrap_or_default(),
        ));
        if let Ok(settled) = settled {
            until = until.max(clock::after(settled.at, settled.ttl));
            meta.number = meta.number.max(settled.token);
        }
        Ok(())
    })?;
    let mut batch = Batch::on(store);
    batch.remove_some(&bucket_key(HASHES, id), &[], usize::MAX, meta)?;
    close_bucket(
        &mut batch,
        meta,
        id,
        BucketStats {
            count: stored.len() as u64,
            until,
        },
        stored,
    )?;
    store.write(batch)
}

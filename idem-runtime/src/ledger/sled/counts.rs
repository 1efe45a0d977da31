//! Counts the rows in sled, and reads the hashes of a bucket.

use minicbor::bytes::ByteVec;

use super::filters::hash;
use super::layout::{COUNTED, Counts, HASHES, SETTLED, bucket_key};
use super::store::{Store, hashes};
use crate::ledger::LedgerError;

/// Counts the rows of each kind.
pub(super) fn counts(store: &Store) -> Result<Counts, LedgerError> {
    let mut counts = Counts::default();
    for kind in COUNTED {
        if let Some(count) = counts.of(kind) {
            *count = store.count(&[kind], &[], u64::MAX)?.0;
        }
    }
    Ok(counts)
}

/// Returns the hashes that are listed for a closed bucket.
pub(super) fn listed_hashes(store: &Store, bucket: u32) -> Result<Vec<u64>, LedgerError> {
    let mut all = Vec::new();
    store.each(&bucket_key(HASHES, bucket), |_, list| {
        let list: ByteVec = list?;
        all.extend(hashes(&list));
        Ok(())
    })?;
    Ok(all)
}

/// Returns the hashes of the records that are in a bucket.
pub(super) fn stored_hashes(
    store: &Store,
    bucket: u32,
    seed: (u64, u64),
) -> Result<Vec<u64>, LedgerError> {
    let prefix = bucket_key(SETTLED, bucket);
    let mut all = Vec::new();
    store.keys(&prefix, |key| {
        all.push(hash(
            seed,
            key.strip_prefix(prefix.as_slice()).unwrap_or_default(),
        ));
    })?;
    Ok(all)
}

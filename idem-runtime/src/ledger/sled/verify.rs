//! Counting what closed buckets hold: some when the ledger opens, the rest in the background. A
//! result that is missing is also noticed when its message comes again; the count is there so that
//! no caller has to wait for that.

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::layout::{BucketStats, SETTLED, bucket_key};
use super::shared::Shared;
use super::store::Store;
use crate::ledger::LedgerError;

/// How many records are counted before the ledger is open: some tenths of a second.
const AT_OPEN: u64 = 200_000;
/// How many are counted in one go in the background, about a millisecond's work.
const PIECE: u64 = 1000;

/// Counts the newest buckets, and gives back those that are left.
pub(super) fn at_open(
    store: &Store,
    mut closed: Vec<(u32, BucketStats)>,
) -> Result<Vec<(u32, BucketStats)>, LedgerError> {
    let mut budget = AT_OPEN;
    closed.sort_by_key(|(id, _)| *id);
    while let Some((id, stats)) = closed.pop_if(|(_, stats)| stats.count <= budget) {
        budget -= stats.count;
        let (found, _) = store.count(&bucket_key(SETTLED, id), &[], u64::MAX)?;
        if found != stats.count {
            return Err(short(store, id, found, stats));
        }
    }
    Ok(closed)
}

/// Counts these buckets in a thread of its own, for as long as the ledger is open; when something
/// is missing, the ledger answers nothing more.
pub(super) fn in_background(
    shared: Weak<Shared>,
    mut closed: Vec<(u32, BucketStats)>,
) -> std::io::Result<()> {
    if closed.is_empty() {
        return Ok(());
    }
    let count = move || {
        while let Some((id, stats)) = closed.pop() {
            let (mut found, mut after) = (0, Vec::new());
            loop {
                let started = Instant::now();
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                let read = shared
                    .read_durable(|store| store.count(&bucket_key(SETTLED, id), &after, PIECE));
                // The next call reports an error of the store; here it ends the count.
                let Ok((count, last)) = read else { return };
                found += count;
                after = last;
                if count < PIECE {
                    if found != stats.count && shared.index.has(id) {
                        shared.poison(|store| short(store, id, found, stats));
                        return;
                    }
                    break;
                }
                drop(shared);
                // Calls come first: it takes at most half of the time.
                std::thread::sleep(started.elapsed().min(Duration::from_millis(100)));
            }
        }
        tracing::debug!("all results are where they should be");
    };
    std::thread::Builder::new()
        .name("idem-verifier".to_owned())
        .spawn(count)
        .map(drop)
}

fn short(
    store: &Store,
    id: u32,
    found: u64,
    BucketStats { count, .. }: BucketStats,
) -> LedgerError {
    store.damaged(format!("bucket {id} holds {found} results of {count}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::sled::SledLedger;
    use crate::ledger::sled::filters::Bucket;
    use crate::ledger::{Filter, Ledger};
    use crate::protocol::RecordId;

    #[tokio::test]
    async fn a_result_that_the_background_misses_ends_all_answers() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = SledLedger::open(
            folder.path(),
            1 << 20,
            Arc::new(SystemClock),
            "test".to_owned(),
        )
        .unwrap();
        ledger.shared.index.add(Arc::new(Bucket::new(7, 1, &[])));
        let stats = BucketStats {
            count: 1,
            until: jiff::Timestamp::MAX,
        };
        in_background(Arc::downgrade(&ledger.shared), vec![(7, stats)]).unwrap();
        let id = RecordId::new("handler", "key");
        let deadline = Instant::now() + Duration::from_secs(60);
        let error = loop {
            match ledger.record(&id).await {
                Err(error) => break error,
                Ok(found) => assert!(
                    found.is_none() && Instant::now() < deadline,
                    "nothing was noticed"
                ),
            }
            tokio::task::yield_now().await;
        };
        assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
        assert!(
            error.to_string().contains("bucket 7 holds 0 results of 1"),
            "{error}"
        );
        assert!(ledger.letters(&Filter::default()).await.is_err());
        assert!(ledger.sweep(1000, Duration::ZERO).await.is_err());
        ledger.close().await.unwrap();
    }
}

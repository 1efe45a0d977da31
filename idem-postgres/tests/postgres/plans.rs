//! How the server carries the statements out, by its own statistics.

use std::time::Duration;

use idem_runtime::ledger::shared::{Runner, Store, StoreTransaction as _, Write};
use idem_runtime::protocol::RecordId;
use jiff::Timestamp;
use sqlx::Row;
use tokio::time::{sleep, timeout};

use crate::database::Database;

/// What was counted of `idem.record`.
#[derive(Debug, Default)]
struct Counts {
    full_scans: i64,
    index_scans: i64,
    updates: i64,
    heap_only: i64,
}

async fn counts(database: &Database) -> Counts {
    let row = sqlx::query(
        "SELECT seq_scan, idx_scan, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
            WHERE relid = 'idem.record'::regclass",
    )
    .fetch_one(&mut database.connect().await.unwrap())
    .await
    .unwrap();
    Counts {
        full_scans: row.get(0),
        index_scans: row.get(1),
        updates: row.get(2),
        heap_only: row.get(3),
    }
}

#[tokio::test]
async fn an_empty_table_is_read_by_its_index_and_completions_are_heap_only() {
    let database = Database::empty().await.unwrap();
    let store = database.store().await.unwrap();
    let before = counts(&database).await;
    let runner = Runner::from("P");
    let lease = Duration::from_secs(30);
    let now = store.beat(&runner, lease, 0).await.unwrap();
    const ROWS: u64 = 200;
    let first = store.reserve(2 * ROWS).await.unwrap();
    let write = |key: u64, expected: Option<u64>, version: u64, due: Timestamp| Write {
        record: Some(vec![7; if expected.is_some() { 120 } else { 60 }]),
        live: expected.is_none(),
        due: Some(due),
        owner: expected.is_none().then(|| runner.clone()),
        ..Write::new(
            RecordId::new("orders.place", format!("A-{key}")),
            expected,
            version,
        )
    };
    // So far away that no sweep moves a row to a later bucket.
    let due = now + Duration::from_secs(3600);
    let outlives = now + Duration::from_secs(24 * 3600);
    for key in 0..ROWS {
        let (claim, result) = (first + 2 * key, first + 2 * key + 1);
        let (claim, result) = (
            write(key, None, claim, due),
            write(key, Some(claim), result, outlives),
        );
        store.read(vec![claim.id.clone()]).await.unwrap();
        let written = store.write(&runner, vec![claim]).await.unwrap();
        assert_eq!(written.versions.len(), 1);
        if key % 2 == 0 {
            let written = store.write(&runner, vec![result]).await.unwrap();
            assert_eq!(written.versions.len(), 1);
        } else {
            let attempt = store.begin().await.unwrap();
            assert!(attempt.finish(&runner, result).await.unwrap());
        }
    }
    store.due(100).await.unwrap();
    store.remove_due(100).await.unwrap();
    // Sessions tell of what they did at their end at the latest.
    store.close().await;
    let after = timeout(Duration::from_secs(30), async {
        loop {
            let counts = counts(&database).await;
            if counts.updates >= ROWS as i64 && counts.index_scans >= ROWS as i64 {
                return counts;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let after = after.await.unwrap();
    assert_eq!(after.full_scans, before.full_scans, "{after:?}");
    assert_eq!(after.updates, after.heap_only, "{after:?}");
}

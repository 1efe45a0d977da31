//! Batches larger than one command of a script.

use std::time::Duration;

use idem_runtime::ledger::shared::{Owner, Runner, Store, Write};
use idem_runtime::protocol::RecordId;
use idem_runtime::testing::ManualClock;

use crate::clocked::ClockedLedger;

const ROWS: u64 = 2_500;

#[tokio::test]
async fn all_rows_of_a_large_batch_are_written() {
    let ledger = ClockedLedger::empty(ManualClock::default());
    let store = ledger.store().await.unwrap();
    let runner = Runner::from("one");
    let lease = Duration::from_secs(30);
    let now = store.beat(&runner, lease, 1).await.unwrap();
    let ids: Vec<_> = (0..ROWS)
        .map(|number| RecordId::new("batches", number.to_string()))
        .collect();
    let write = |(number, id): (u64, &RecordId), expected, version: u64| Write {
        owner: (version == 1).then(|| runner.clone()),
        live: version == 1,
        due: Some(now),
        ..Write::new(id.clone(), expected, version * 10_000 + number)
    };
    let claims = (0..).zip(&ids).map(|row| write(row, None, 1)).collect();
    let written = store.write(&runner, claims).await.unwrap();
    assert_eq!(written.versions.len(), ids.len());
    let ends = (0..)
        .zip(&ids)
        .map(|row| write(row, Some(10_000 + row.0), 2));
    // One of them was overtaken.
    let ends = ends.skip(1).chain([write((0, &ids[0]), Some(7), 3)]);
    let written = store.write(&runner, ends.collect()).await.unwrap();
    assert_eq!(written.versions.len(), ids.len() - 1);
    let rows = store.read(ids).await.unwrap().rows;
    for (number, row) in (0..).zip(rows) {
        let row = row.unwrap().unwrap();
        let is_claimed = matches!(row.owner, Owner::Until(..));
        let version = if number == 0 { 10_000 } else { 20_000 };
        assert_eq!((row.version, is_claimed), (version + number, number == 0));
    }
    // Those that ended are to be removed, and the one that runs is not.
    let mut removed = 0;
    while removed < ROWS - 1 {
        removed += store.remove_due(1_000).await.unwrap();
    }
    assert_eq!(store.remove_due(1_000).await.unwrap(), 0);
}

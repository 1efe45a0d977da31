//! Hints between processes.

use idem_runtime::ledger::shared::{Runner, Store, Write};
use idem_runtime::protocol::RecordId;
use idem_runtime::testing::ManualClock;
use idem_test_support::within;

use crate::clocked::{ClockedLedger, connect};

/// Of the rows that it changes, another process hears of those that it waits for.
#[tokio::test]
async fn a_change_that_is_waited_for_is_heard() {
    let ledger = ClockedLedger::empty(ManualClock::default());
    let (one, other) = (ledger.store().await.unwrap(), ledger.store().await.unwrap());
    let runner = Runner::from("one");
    let lease = std::time::Duration::from_secs(30);
    one.beat(&runner, lease, 1).await.unwrap();
    let [waited_for, not] = ["A", "B"].map(|key| RecordId::new("hints", key));
    other.watch(&waited_for);
    let changing = async {
        let mut server = connect().await.unwrap();
        let channel = format!("{{{}}}w", ledger.name());
        // It does not tell when it has begun to listen.
        loop {
            let mut asking = redis::cmd("PUBSUB");
            asking.arg("NUMSUB").arg(&channel);
            let (_, listeners): (String, u64) = asking.query_async(&mut server).await.unwrap();
            if listeners > 0 {
                break;
            }
        }
        for batch in [
            [(&not, None, 1), (&waited_for, None, 2)],
            [(&not, Some(1), 3), (&waited_for, Some(2), 4)],
        ] {
            let writes =
                batch.map(|(id, expected, version)| Write::new(id.clone(), expected, version));
            let written = one.write(&runner, writes.to_vec()).await.unwrap();
            assert_eq!(written.versions.len(), 2);
        }
    };
    let (heard, ()) = within(async { tokio::join!(other.changed(), changing) }).await;
    assert_eq!(heard, [waited_for]);
}

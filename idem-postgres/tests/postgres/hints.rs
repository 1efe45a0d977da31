//! Hints between processes.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::shared::{Runner, Store, Write};
use idem_runtime::protocol::RecordId;
use tokio::time::timeout;

use crate::database::Database;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_process_hears_of_a_row_that_it_waits_for_and_of_no_other() {
    let database = Database::empty().await.unwrap();
    let (waiting, writing) = (
        database.store().await.unwrap(),
        database.store().await.unwrap(),
    );
    let (waiting, writing) = (Arc::new(waiting), Arc::new(writing));
    let other = Arc::clone(&writing);
    tokio::spawn(async move { other.changed().await });
    let runner = Runner::from("writing");
    writing.beat(&runner, DEADLINE, 0).await.unwrap();

    let (waited_for, another) = (RecordId::new("shop", "A"), RecordId::new("shop", "B"));
    waiting.watch(&waited_for);
    let told = Arc::clone(&waiting);
    let told = tokio::spawn(async move { told.changed().await });
    let mut version = 0;
    // A hint may be lost while the two have not heard of each other.
    timeout(DEADLINE, async {
        while !told.is_finished() {
            let expected = (version > 0).then_some(version);
            let writes =
                [&another, &waited_for].map(|id| Write::new(id.clone(), expected, version + 1));
            // Two rows may have one version here: nothing claims them.
            for write in writes {
                writing.write(&runner, vec![write]).await.unwrap();
            }
            version += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(told.await.unwrap(), [waited_for]);
}

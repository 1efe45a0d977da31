//! Numbers grow for each key, also where its row is gone.

use std::time::Duration;

use idem_runtime::ledger::Ledger;
use idem_runtime::protocol::{Reply, Step};

use crate::common::{Server, TTL, complete, id};

#[tokio::test]
async fn a_key_whose_row_was_removed_gets_a_larger_token_from_any_process() {
    let server = Server::start();
    // The second one reserves its numbers later, so that those of the first are smaller.
    let (first, second) = (server.member("P"), server.member("Q"));
    first.start("other", 1).await;
    let Reply::Run(grant) = second.step("A", second.claim(1)).await else {
        panic!("it did not run")
    };
    assert_eq!(
        second.step("A", complete(grant.token)).await,
        Reply::Recorded
    );
    // A settled record goes with its row, a minute after it expired.
    server.clock.advance(TTL + Duration::from_secs(61));
    assert_eq!(second.ledger.sweep(100, TTL).await.unwrap().removed, 1);
    let next = first.start("A", 2).await;
    assert!(next.token > grant.token, "{next:?} after {grant:?}");
    let given_back = Step::GiveBack { token: next.token };
    assert_eq!(first.step("A", given_back).await, Reply::Recorded);
    let row = async || {
        use idem_runtime::ledger::shared::Store;
        let mut rows = server.store.read(vec![id("A")]).await.unwrap().rows;
        rows.remove(0).unwrap()
    };
    second.ledger.sweep(100, TTL).await.unwrap();
    assert!(row().await.is_some_and(|row| row.record.is_none()));
    server.clock.advance(Duration::from_secs(61));
    second.ledger.sweep(100, TTL).await.unwrap();
    assert_eq!(row().await, None);
    let last = first.start("A", 3).await;
    assert!(last.token > next.token, "{last:?} after {next:?}");
}

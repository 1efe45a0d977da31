//! Numbers grow for each key, also where its row is gone.

use std::time::Duration;

use idem_runtime::clock::Clock;
use idem_runtime::ledger::Ledger;
use idem_runtime::ledger::shared::{LATEST, Store};
use idem_runtime::protocol::{Reply, Step};
use idem_runtime::testing::{StoreCall, StoreFault};

use crate::common::{LEASE, Server, TTL, complete, id};

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

/// A batch that was held up does not go out with old numbers, also when a transaction has reserved
/// new ones meanwhile.
#[tokio::test]
async fn an_old_number_claims_nothing_while_another_step_has_a_new_one() {
    let server = Server::start();
    let member = server.member("P");
    let passed = async |by: Duration| {
        let end = server.clock.now() + by;
        server
            .until(async {
                while server.clock.now() < end {
                    tokio::task::yield_now().await;
                }
            })
            .await;
    };
    // The claims of four dead processes, and a key whose record was removed.
    for name in ["1", "2", "3", "4"] {
        let dead = server.member(name);
        let Step::Claim(mut claim) = dead.claim(1) else {
            unreachable!()
        };
        claim.lease = TTL;
        dead.step(name, Step::Claim(claim)).await;
    }
    let other = server.member("Q");
    let Reply::Run(grant) = other.step("A", other.claim(1)).await else {
        panic!("it did not run")
    };
    other.step("A", Step::GiveBack { token: grant.token }).await;
    passed(LEASE).await;
    let held = member.start("held", 1).await;

    // All five are one batch: they are asked for while another one is written. Each of the four holds
    // it up for as long as the store may take.
    member.network.always(StoreCall::Retire, StoreFault::Silent);
    let late = StoreFault::LateAnswer(Duration::from_millis(500));
    member.network.next(StoreCall::Write, late);
    let (ledger, writes) = (&member.ledger, server.store.calls().writes);
    let first = tokio::spawn(ledger.apply(&id("first"), member.claim(2)));
    while server.store.calls().writes == writes {
        tokio::task::yield_now().await;
    }
    let claim = |key: &str| tokio::spawn(ledger.apply(&id(key), member.claim(2)));
    let (four, claim) = (["1", "2", "3", "4"].map(claim), claim("A"));
    tokio::task::yield_now().await;
    // What the member reserves from here on is larger, also if the batch does so before the transaction.
    let mark = server.store.reserve(1).await.unwrap();
    passed(LATEST / 2 + Duration::from_secs(1)).await;
    let transaction = ledger.begin().await.unwrap();
    let reply = transaction.finish(&id("held"), complete(held.token)).await;
    assert_eq!(reply.unwrap(), Reply::Recorded);
    match server.until(claim).await.unwrap() {
        Ok(Reply::Run(grant)) => assert!(grant.token > mark, "{grant:?} after {mark}"),
        Ok(other) => panic!("{other:?}"),
        Err(error) => assert!(!error.maybe_written(), "{error:?}"),
    }
    for claim in four {
        assert!(server.until(claim).await.unwrap().is_err());
    }
    first.await.unwrap().unwrap();
}

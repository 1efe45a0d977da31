//! Rows of the test's own and the record of an attempt: both or neither.

use idem_runtime::ledger::{CommitError, Ledger, Transaction};
use idem_runtime::protocol::Reply;
use idem_runtime::testing::{MemoryTransaction, StoreCall, StoreFault, UnreliableTransaction};

use crate::common::{LEASE, Member, Server, complete, id};

/// A transaction that has written a row of its own.
async fn begun(member: &Member, row: &str) -> Box<dyn Transaction> {
    let mut transaction = member.ledger.begin().await.unwrap();
    let own = transaction.as_any_mut();
    let own: &mut UnreliableTransaction<MemoryTransaction> = own.downcast_mut().unwrap();
    own.transaction.put(row, *b"1");
    transaction
}

async fn is_done(member: &Member, key: &str) -> bool {
    let record = member.ledger.record(&id(key)).await.unwrap();
    record.is_some_and(|record| record.owner().is_none())
}

#[tokio::test]
async fn rows_and_record_are_committed_together() {
    let server = Server::start();
    let member = server.member("P");
    let grant = member.start("A", 1).await;
    let transaction = begun(&member, "row").await;
    assert!(!is_done(&member, "A").await && server.store.row("row").is_none());
    let reply = transaction.finish(&id("A"), complete(grant.token)).await;
    assert_eq!(reply.unwrap(), Reply::Recorded);
    assert!(is_done(&member, "A").await && server.store.row("row").is_some());
    let replay = member.step("A", member.claim(2)).await;
    assert!(matches!(replay, Reply::Replay { .. }), "{replay:?}");
}

#[tokio::test]
async fn a_commit_says_what_is_known() {
    for (fault, takes_place) in [
        (StoreFault::Away, false),
        (StoreFault::Lost, true),
        (StoreFault::LostRequest, false),
        (StoreFault::Silent, false),
    ] {
        let server = Server::start();
        let member = server.member("P");
        let grant = member.start("A", 1).await;
        let transaction = begun(&member, "row").await;
        member.network.next(StoreCall::Commit, fault);
        let finished = transaction.finish(&id("A"), complete(grant.token));
        let error = server.until(finished).await.unwrap_err();
        let is_known = matches!(error, CommitError::NotCommitted(_));
        assert_eq!(is_known, fault == StoreFault::Away, "{fault:?}: {error}");
        assert_eq!(is_done(&member, "A").await, takes_place, "{fault:?}");
        assert_eq!(server.store.row("row").is_some(), takes_place, "{fault:?}");
        // The report finds what took place.
        let reply = member.step("A", complete(grant.token)).await;
        assert_eq!(reply, Reply::Recorded, "{fault:?}");
    }
}

#[tokio::test]
async fn a_claim_that_passed_on_is_not_committed() {
    let server = Server::start();
    let (member, other) = (server.member("P"), server.member("Q"));
    let grant = member.start("A", 1).await;
    let transaction = begun(&member, "row").await;
    server.clock.advance(LEASE);
    assert_eq!(other.start("A", 1).await.number, 2);
    for transaction in [transaction, begun(&member, "row").await] {
        let reply = transaction.finish(&id("A"), complete(grant.token)).await;
        assert_eq!(reply.unwrap(), Reply::LeaseLost);
    }
    assert!(server.store.row("row").is_none());
}

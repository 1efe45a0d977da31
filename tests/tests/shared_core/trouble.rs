//! A store that is away, or does not answer.

use std::time::Duration;

use idem_runtime::ledger::{Ledger, LedgerError, NoteChange};
use idem_runtime::protocol::Reply;
use idem_runtime::testing::{StoreCall, StoreFault};

use crate::common::{Server, TTL, complete, id};

#[tokio::test]
async fn a_store_that_is_away_for_a_while_delays_its_callers() {
    let server = Server::start();
    let member = server.member("P");
    for call in [StoreCall::Write, StoreCall::Read, StoreCall::Reserve] {
        for _ in 0..3 {
            member.network.next(call, StoreFault::Away);
        }
    }
    let claim = server.until(member.ask("A", member.claim(1))).await;
    let Ok(Reply::Run(grant)) = claim else {
        panic!("{claim:?}")
    };
    let report = server.until(member.ask("A", complete(grant.token))).await;
    assert_eq!(report.unwrap(), Reply::Recorded);
}

#[tokio::test]
async fn a_store_that_stays_away_is_an_error_and_nothing_was_written() {
    let server = Server::start();
    let member = server.member("P");
    member.network.always(StoreCall::Write, StoreFault::Away);
    let gone = server.until(member.ask("A", member.claim(1))).await;
    let gone = gone.unwrap_err();
    assert!(matches!(gone, LedgerError::Unavailable { .. }), "{gone:?}");
    assert!(gone.may_retry() && !gone.maybe_written());
    member.network.mend();
    assert_eq!(server.until(member.start("A", 2)).await.number, 1);
}

/// Whatever never answers ends in bounded time.
#[tokio::test]
async fn a_store_that_never_answers_is_an_error() {
    let server = Server::start();
    let member = server.member("P");
    let calls = [StoreCall::Write, StoreCall::Read, StoreCall::List];
    let more = [StoreCall::Due, StoreCall::WriteNotes, StoreCall::Begin];
    for call in calls.into_iter().chain(more) {
        member.network.always(call, StoreFault::Silent);
    }
    let ledger = &member.ledger;
    let note = vec![NoteChange::put("a/b", *b"1")];
    let errors = server
        .until(async {
            [
                member.ask("A", member.claim(1)).await.unwrap_err(),
                ledger.record(&id("A")).await.unwrap_err(),
                ledger.open_letters().await.unwrap_err(),
                ledger.sweep(10, TTL).await.unwrap_err(),
                ledger.write_notes(note, Vec::new()).await.unwrap_err(),
                ledger.begin().await.err().unwrap(),
            ]
        })
        .await;
    let maybe = errors.each_ref().map(LedgerError::maybe_written);
    assert!(errors.iter().all(LedgerError::may_retry), "{errors:?}");
    // A claim and notes may have been written; a read writes nothing.
    assert_eq!(
        (maybe[0], maybe[1], maybe[4]),
        (true, false, true),
        "{errors:?}"
    );
}

async fn within<T>(happened: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(60);
    tokio::time::timeout(deadline, happened).await.unwrap()
}

/// Time stands still, so whatever waits for the store would wait for ever.
#[tokio::test]
async fn a_store_that_has_lost_something_begins_nothing_at_once_and_what_ends_waits() {
    let server = Server::start();
    let member = server.member("P");
    let grant = member.start("A", 1).await;
    for call in [StoreCall::Write, StoreCall::Read] {
        member.network.always(call, StoreFault::Stopped);
    }
    let alone = within(member.ask("B", member.claim(2))).await;
    let (one, other) = within(async {
        tokio::join!(
            member.ask("C", member.claim(3)),
            member.ask("D", member.claim(4))
        )
    })
    .await;
    for claim in [alone, one, other] {
        let refused = claim.unwrap_err();
        assert!(
            matches!(refused, LedgerError::Unavailable { .. }),
            "{refused:?}"
        );
        assert!(!refused.maybe_written());
    }
    within(member.ledger.record(&id("A"))).await.unwrap_err();
    member.network.mend();
    for _ in 0..3 {
        member.network.next(StoreCall::Write, StoreFault::Stopped);
        member
            .network
            .next(StoreCall::WriteNotes, StoreFault::Stopped);
    }
    let report = server.until(member.ask("A", complete(grant.token))).await;
    assert_eq!(report.unwrap(), Reply::Recorded);
    let note = vec![NoteChange::put("a/b", *b"1")];
    let written = server.until(member.ledger.write_notes(note, Vec::new()));
    assert!(written.await.unwrap());
}

#[tokio::test]
async fn what_was_asked_for_before_the_end_is_finished() {
    let server = Server::start();
    let member = server.member("P");
    let grant = member.start("A", 1).await;
    member.network.next(StoreCall::Write, StoreFault::Away);
    let report = tokio::spawn(member.ledger.apply(&id("A"), complete(grant.token)));
    tokio::task::yield_now().await;
    server.until(member.ledger.close()).await.unwrap();
    assert_eq!(report.await.unwrap().unwrap(), Reply::Recorded);
    let late = member.ask("B", member.claim(2)).await;
    assert!(matches!(late, Err(LedgerError::Closed)), "{late:?}");
}

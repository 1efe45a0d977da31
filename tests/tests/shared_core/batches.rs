//! What is asked for while a batch is written goes out together.

use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use idem_runtime::ledger::{Ledger, LedgerError};
use idem_runtime::protocol::{NoteChange, Reply, Step};
use idem_runtime::testing::{StoreCall, StoreFault};

use crate::common::{Member, Server, complete, id};

const LATE: StoreFault = StoreFault::LateAnswer(Duration::from_secs(1));

/// Claims while the answer to an earlier write is on its way.
async fn claim_together(
    server: &Server,
    member: &Member,
    keys: &[String],
) -> Vec<Result<Reply, LedgerError>> {
    let ledger = &member.ledger;
    // The first one is made by its caller, and the second one by the committer.
    let mut earlier = Vec::new();
    for nonce in [u64::MAX, u64::MAX - 1] {
        member.network.next(StoreCall::Write, LATE);
        let claim = member.claim(nonce);
        earlier.push(tokio::spawn(ledger.apply(&id(&nonce.to_string()), claim)));
        while server.store.calls().writes < earlier.len() as u64 {
            tokio::task::yield_now().await;
        }
    }
    let claims = keys.iter().zip(1..);
    let claims =
        claims.map(|(key, nonce)| tokio::spawn(ledger.apply(&id(key), member.claim(nonce))));
    let claims: Vec<_> = claims.collect();
    // The last one is asked for by now, and it is behind the others in no queue.
    tokio::task::yield_now().await;
    let answers = server.until(join_all(claims)).await;
    for claim in earlier {
        server.until(claim).await.unwrap().unwrap();
    }
    answers.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_steps_of_64_callers_share_their_trips() {
    let server = Server::start();
    let member = server.member("P");
    let keys: Vec<_> = (0..64).map(|key| key.to_string()).collect();
    // No answer comes before time passes, and it does once all have asked.
    member.network.always(StoreCall::Write, LATE);
    let claims = claim_together(&server, &member, &keys).await;
    member.network.mend();
    let writes = server.store.calls().writes;
    assert!(writes <= 8, "64 claims took {writes} writes");
    // A report of its own claim is decided without a read.
    let reads = server.store.calls().reads;
    for (key, claim) in keys.iter().zip(claims) {
        let Ok(Reply::Run(grant)) = claim else {
            panic!("{claim:?}")
        };
        assert_eq!(grant.number, 1);
        assert_eq!(
            member.step(key, complete(grant.token)).await,
            Reply::Recorded
        );
    }
    assert_eq!(server.store.calls().reads, reads);
}

/// Claims a key, and returns how many writes and reads that took.
async fn trips_of_a_claim(server: &Server, member: &Member, key: u64) -> (u64, u64) {
    let before = server.store.calls();
    let reply = member.step(&key.to_string(), member.claim(key)).await;
    let after = server.store.calls();
    if let Reply::Run(grant) = reply {
        let reported = member.step(&key.to_string(), complete(grant.token)).await;
        assert_eq!(reported, Reply::Recorded);
    }
    (after.writes - before.writes, after.reads - before.reads)
}

#[tokio::test]
async fn a_claim_takes_one_trip_where_the_last_ones_met_the_same() {
    let server = Server::start();
    let (first, second) = (server.member("P"), server.member("Q"));
    for key in 0..40 {
        let trips = trips_of_a_claim(&server, &first, key).await;
        assert_eq!(trips, (1, 0), "the new key {key}");
    }
    for (keys, expected) in [(0..40, (0, 1)), (40..80, (1, 0))] {
        let settled = keys.start + 16;
        for key in keys {
            let trips = trips_of_a_claim(&server, &second, key).await;
            if key >= settled {
                assert_eq!(trips, expected, "the key {key}");
            }
        }
    }
}

#[tokio::test]
async fn one_bad_write_of_a_batch_fails_alone() {
    let server = Server::start();
    let member = server.member("P");
    let keys: Vec<_> = (0..9).map(|key| key.to_string()).collect();
    member.network.refuse(id("4"));
    let claims = claim_together(&server, &member, &keys).await;
    for (key, claim) in keys.iter().zip(claims) {
        match claim {
            Err(LedgerError::Refused { .. }) => assert_eq!(key, "4"),
            Ok(Reply::Run(_)) => assert_ne!(key, "4"),
            other => panic!("{key}: {other:?}"),
        }
    }
    member.network.mend();
    assert_eq!(member.start("4", 100).await.number, 1);
}

#[tokio::test]
async fn a_record_has_its_steps_in_the_order_they_were_asked_for() {
    let server = Server::start();
    let member = server.member("P");
    let keys = vec!["same".to_owned(); 20];
    let claims = claim_together(&server, &member, &keys).await;
    let numbers = claims.into_iter().map(|claim| match claim {
        Ok(Reply::Run(grant)) => grant.number,
        // The budget is spent.
        Ok(Reply::DeadLettered(_) | Reply::Dead { .. }) => 0,
        other => panic!("{other:?}"),
    });
    let numbers: Vec<_> = numbers.collect();
    assert_eq!(numbers[..4], [1, 2, 3, 0]);
}

#[tokio::test]
async fn notes_are_written_after_what_was_asked_for_before() {
    let server = Server::start();
    let member = server.member("P");
    member.network.next(StoreCall::Write, StoreFault::Away);
    let claim = tokio::spawn(member.ledger.apply(&id("A"), member.claim(1)));
    tokio::task::yield_now().await;
    let all = member.ledger.write_notes(Vec::new(), Vec::new());
    assert!(server.until(all).await.unwrap());
    assert!(member.ledger.record(&id("A")).await.unwrap().is_some());
    claim.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_step_that_is_asked_for_alone_is_made_although_its_caller_goes_away() {
    let server = Server::start();
    let member = server.member("P");
    let heard = member.ledger.changed(&id("A")).unwrap();
    member.network.next(StoreCall::Write, LATE);
    let claim = tokio::spawn(member.ledger.apply(&id("A"), member.claim(1)));
    while server.store.calls().writes == 0 {
        tokio::task::yield_now().await;
    }
    claim.abort();
    assert!(claim.await.unwrap_err().is_cancelled());
    server.until(heard).await;
    let record = member.ledger.record(&id("A")).await.unwrap();
    // The answer was heard, so a report needs no read.
    member.network.always(StoreCall::Read, StoreFault::Refused);
    let report = complete(record.unwrap().token());
    assert_eq!(member.step("A", report).await, Reply::Recorded);
}

/// It holds up what depends on its step, for a while, and nothing else.
#[tokio::test]
async fn a_caller_that_stands_still_stops_no_other() {
    let server = Server::start();
    let member = server.member("P");
    member.network.next(StoreCall::Write, LATE);
    let mut still = member.ledger.apply(&id("A"), member.claim(1));
    while server.store.calls().writes == 0 {
        assert!(poll_immediate(&mut still).await.is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(member.start("B", 2).await.number, 1);
    let note = NoteChange::put("n", "1");
    let written = member.ledger.write_notes(vec![note], Vec::new());
    assert!(server.until(written).await.unwrap());
    let swept = member.ledger.apply(&id("A"), Step::Sweep);
    assert_eq!(server.until(swept).await.unwrap(), Reply::Unchanged);
    let claimed = server.until(still).await.unwrap();
    assert_eq!(claimed, Reply::Run(member.start("A", 1).await));
}

//! Processes that stall, die, and wake up.

use std::time::Duration;

use idem_runtime::clock::Clock;
use idem_runtime::ledger::Ledger;
use idem_runtime::ledger::shared::LATEST;
use idem_runtime::protocol::{AttemptOutcome, Reply, Step};
use idem_runtime::testing::{StoreCall, StoreFault};
use jiff::SignedDuration;

use crate::common::{LEASE, Server, TTL, complete, fail, id};

/// The claims of a long body have a late ceiling.
const LONG: Duration = Duration::from_secs(3000);

/// A claim whose ceiling is far away: only the death of its process passes it on.
fn long(claim: Step) -> Step {
    match claim {
        Step::Claim(mut claim) => {
            claim.lease = LONG;
            Step::Claim(claim)
        }
        other => other,
    }
}

#[tokio::test]
async fn a_process_that_stalled_cannot_report_and_goes_on_under_a_new_name() {
    for ahead in [0, 300, -300] {
        let server = Server::start();
        let (sleeper, other) = (
            server.member("P"),
            server.member_with("Q", server.clock.ahead(SignedDuration::from_secs(ahead))),
        );
        let run = async |key: &str, nonce| match sleeper.step(key, long(sleeper.claim(nonce))).await
        {
            Reply::Run(grant) => grant.token,
            other => panic!("{other:?}"),
        };
        let (complete_a, fail_b) = (run("A", 1).await, run("B", 2).await);
        let busy = other.step("A", other.claim(1)).await;
        assert!(matches!(busy, Reply::Busy { .. }), "{busy:?}");
        sleeper.network.always(StoreCall::Beat, StoreFault::Away);
        let taken = async {
            loop {
                match other.step("A", other.claim(2)).await {
                    Reply::Run(grant) => break grant,
                    Reply::Busy { .. } => tokio::task::yield_now().await,
                    reply => panic!("{reply:?}"),
                }
            }
        };
        assert_eq!(server.until(taken).await.number, 2, "{ahead}");
        sleeper.network.mend();
        // It was taken for dead: also what was not taken is lost.
        let report = sleeper.step("A", complete(complete_a)).await;
        assert_eq!(report, Reply::LeaseLost, "{ahead}");
        let report = sleeper
            .step("B", fail(fail_b, AttemptOutcome::Failed))
            .await;
        assert_eq!(report, Reply::LeaseLost, "{ahead}");
        let next = sleeper.start("B", 3).await;
        assert_eq!(next.number, 2, "{ahead}");
        assert_eq!(
            sleeper.step("B", complete(next.token)).await,
            Reply::Recorded
        );
    }
}

#[tokio::test]
async fn a_beating_process_keeps_its_claims_whatever_their_number() {
    let server = Server::start();
    let (member, other) = (server.member("P"), server.member("Q"));
    let Reply::Run(grant) = member.step("A", long(member.claim(1))).await else {
        panic!("it did not run")
    };
    let end = server.clock.now() + LEASE * 2;
    let beaten = async {
        while server.clock.now() < end {
            let busy = other.step("A", other.claim(1)).await;
            assert!(matches!(busy, Reply::Busy { .. }), "{busy:?}");
            tokio::task::yield_now().await;
        }
    };
    server.until(beaten).await;
    assert_eq!(
        member.step("A", complete(grant.token)).await,
        Reply::Recorded
    );
}

#[tokio::test]
async fn a_claim_over_its_ceiling_passes_on_while_its_process_lives() {
    let server = Server::start();
    let (member, other) = (server.member("P"), server.member("Q"));
    let hung = member.start("A", 1).await;
    let Reply::Run(long_one) = member.step("B", long(member.claim(2))).await else {
        panic!("it did not run")
    };
    let taken = async {
        loop {
            match other.step("A", other.claim(1)).await {
                Reply::Run(grant) => break grant,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    assert_eq!(server.until(taken).await.number, 2);
    assert_eq!(
        member.step("A", complete(hung.token)).await,
        Reply::LeaseLost
    );
    // Its process was not taken for dead.
    assert_eq!(
        member.step("B", complete(long_one.token)).await,
        Reply::Recorded
    );
}

/// Of two processes that claim at once, one is overtaken, and hears of the other.
#[tokio::test]
async fn a_lost_race_is_decided_again() {
    let server = Server::start();
    let (member, other) = (server.member("P"), server.member("Q"));
    let grant = member.start("A", 1).await;
    let busy = other.step("A", other.claim(1)).await;
    assert!(matches!(busy, Reply::Busy { .. }), "{busy:?}");
    assert_eq!(
        member.step("A", complete(grant.token)).await,
        Reply::Recorded
    );
    let replay = other.step("A", other.claim(2)).await;
    assert!(matches!(replay, Reply::Replay { .. }), "{replay:?}");
}

#[tokio::test]
async fn a_process_that_closes_leaves_nothing_to_wait_for() {
    let server = Server::start();
    let member = server.member("P");
    let grant = member.start("A", 1).await;
    let failed = fail(grant.token, AttemptOutcome::Failed);
    member.step("A", failed).await;
    member.ledger.close().await.unwrap();
    let other = server.member("Q");
    server.clock.advance(Duration::from_secs(10));
    assert_eq!(other.start("A", 1).await.number, 2);
}

/// The store looks for a dead process's claims from the oldest that its beats named.
#[tokio::test]
async fn a_sweep_finds_the_oldest_claim_of_a_dead_process() {
    let server = Server::start();
    let (dead, other) = (server.member("P"), server.member("Q"));
    let Step::Claim(mut last) = long(dead.claim(1)) else {
        unreachable!()
    };
    last.budget.retries = 0;
    let Reply::Run(lost) = dead.step("A", Step::Claim(last.clone())).await else {
        panic!("it did not run")
    };
    dead.step("B", Step::Claim(last)).await;
    // Of the first, it does not know whether it was reported.
    dead.network
        .always(StoreCall::Write, StoreFault::LostRequest);
    let lost = server.until(dead.ask("A", complete(lost.token))).await;
    assert!(lost.unwrap_err().maybe_written());
    dead.network.mend();
    // Long enough for every write to be over that may have been on its way.
    let start = server.clock.now();
    server
        .until(async {
            while server.clock.now() < start + 3 * LATEST {
                tokio::task::yield_now().await;
            }
        })
        .await;
    dead.start("C", 3).await;
    drop(dead);
    let mut buried = Vec::new();
    let swept = async {
        while buried.len() < 2 {
            let swept = other.ledger.sweep(0, TTL).await.unwrap();
            buried.extend(swept.dead_lettered.into_iter().map(|letter| letter.key));
            tokio::task::yield_now().await;
        }
        buried.sort();
        buried
    };
    assert_eq!(server.until(swept).await, ["A", "B"]);
}

#[tokio::test]
async fn a_sweep_buries_the_last_attempt_of_a_dead_process() {
    let server = Server::start();
    let (dead, other) = (server.member("P"), server.member("Q"));
    let Step::Claim(mut last) = long(dead.claim(1)) else {
        unreachable!()
    };
    last.budget.retries = 0;
    dead.step("A", Step::Claim(last)).await;
    drop(dead);
    let swept = async {
        loop {
            let swept = other.ledger.sweep(0, TTL).await.unwrap();
            if !swept.dead_lettered.is_empty() {
                break swept.dead_lettered;
            }
            tokio::task::yield_now().await;
        }
    };
    let letters = server.until(swept).await;
    assert_eq!(letters.len(), 1);
    let kept = other.ledger.letter(letters[0].id).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&letters[0]));
    assert_eq!(kept.unwrap().record_id(), id("A"));
}

//! Laws of steps that are asked for again, because their answers were lost.

use std::sync::Arc;

use futures_util::future::poll_immediate;

use super::{LEASE, PAUSE, Subject, TTL, claim, complete, id, of_another};
use crate::ledger::Leases;
use crate::protocol::{AttemptOutcome, Grant, Reply, Step};

/// The same claim, asked for again, gets the same grant, also after its lease has lapsed, and lives
/// for another lease.
pub async fn a_claim_asked_again_is_one_attempt(on: Arc<Subject>) {
    let first = on.start_as("A", claim().nonce(7)).await;
    assert_eq!(on.start_as("A", claim().nonce(7)).await, first);
    on.clock.advance(LEASE);
    assert_eq!(on.start_as("A", claim().nonce(7)).await, first);
    assert!(matches!(
        on.step("A", Step::Claim(of_another())).await,
        Reply::Busy { .. }
    ));
    on.fail("A", first.token, AttemptOutcome::Failed).await;
    on.clock.advance(PAUSE);
    let second = on.start_as("A", claim().nonce(8)).await;
    assert_eq!(second.number, 2);
    assert_eq!(on.start_as("A", claim().nonce(8)).await, second);
    assert_eq!(
        on.step("A", complete(second.token, "1")).await,
        Reply::Recorded
    );
}

/// Another claim of the same owner is another attempt, and the one before has crashed.
pub async fn a_claim_with_another_number_counts_the_one_before(on: Arc<Subject>) {
    let first = on.start_as("A", claim().nonce(7)).await;
    let second = on.start_as("A", claim().nonce(8)).await;
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(
        on.step("A", complete(first.token, "1")).await,
        Reply::LeaseLost
    );
    // The claim before is no longer known by its number.
    assert_eq!(on.start_as("A", claim().nonce(7)).await.number, 3);
}

/// A claim asked for again after it was reported, by whatever way, runs nothing.
pub async fn a_claim_asked_again_after_its_report_runs_nothing(on: Arc<Subject>) {
    let again = || Step::Claim(claim().nonce(7));
    let done = on.start_as("done", claim().nonce(7)).await;
    on.step("done", complete(done.token, "1")).await;
    let reply = on.step("done", again()).await;
    assert!(matches!(reply, Reply::Replay { .. }), "{reply:?}");
    let failed = on.start_as("failed", claim().nonce(7)).await;
    on.fail("failed", failed.token, AttemptOutcome::Failed)
        .await;
    let reply = on.step("failed", again()).await;
    assert!(matches!(reply, Reply::NotYet { .. }), "{reply:?}");
    let dead = on.start_as("dead", claim().nonce(7)).await;
    on.fail("dead", dead.token, AttemptOutcome::Permanent).await;
    let reply = on.step("dead", again()).await;
    assert!(matches!(reply, Reply::Dead { .. }), "{reply:?}");
}

/// A claim asked for again after its lease has lapsed and another owner has the key waits for that
/// one.
pub async fn a_claim_asked_again_after_another_owner_took_the_key_waits(on: Arc<Subject>) {
    if on.ledger.capabilities().leases == Leases::None {
        return;
    }
    on.start_as("A", claim().nonce(7)).await;
    on.clock.advance(LEASE);
    // Numbers are their owner's own.
    let taken = on.start_as("A", of_another().nonce(7)).await;
    assert_eq!(taken.number, 2);
    let reply = on.step("A", Step::Claim(claim().nonce(7))).await;
    assert!(matches!(reply, Reply::Busy { .. }), "{reply:?}");
    assert_eq!(on.start_as("A", of_another().nonce(7)).await, taken);
}

/// A claim and its reports that are each asked for twice at once are made once.
pub async fn a_step_asked_twice_at_once_is_made_once(on: Arc<Subject>) {
    let twice = async |step: Step| {
        let (first, second) = (
            on.ledger.apply(&id("A"), step.clone()),
            on.ledger.apply(&id("A"), step),
        );
        let (first, second) = tokio::join!(first, second);
        (first.unwrap(), second.unwrap())
    };
    for number in 1..=2 {
        let (first, second) = twice(Step::Claim(claim().nonce(u64::from(number)))).await;
        let Reply::Run(grant) = first else {
            panic!("{first:?}")
        };
        assert_eq!((grant.number, &second), (number, &first));
        let failed = super::failed(grant.token, AttemptOutcome::Failed);
        let (first, second) = twice(Step::Fail(failed)).await;
        assert!(matches!(first, Reply::Waiting { .. }), "{first:?}");
        assert_eq!(first, second);
        on.clock.advance(PAUSE);
    }
    let (first, _) = twice(Step::Claim(claim().nonce(3))).await;
    let Reply::Run(Grant {
        token, number: 3, ..
    }) = first
    else {
        panic!("{first:?}")
    };
    let renewed = twice(Step::Renew {
        token,
        lease: LEASE,
    })
    .await;
    assert_eq!(renewed, (Reply::Recorded, Reply::Recorded));
    let completed = twice(complete(token, "1")).await;
    assert_eq!(completed, (Reply::Recorded, Reply::Recorded));
}

/// Once a step that was dropped is asked for again and answered, the first asking has no effect any
/// more: it neither claims what was given back, nor reports to another attempt.
pub async fn a_dropped_step_has_no_effect_after_the_second_answer(on: Arc<Subject>) {
    let drop_it = async |step: Step| {
        let mut asked = on.ledger.apply(&id("A"), step);
        // Polled once, with whatever it says.
        let _ = poll_immediate(asked.as_mut()).await;
    };
    drop_it(Step::Claim(claim().nonce(7))).await;
    let Grant { token, .. } = on.start_as("A", claim().nonce(7)).await;
    on.step("A", Step::GiveBack { token }).await;
    settle(&on).await;
    assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);

    let Grant { token, .. } = on.start_as("A", claim().nonce(8)).await;
    let failed = || Step::Fail(super::failed(token, AttemptOutcome::Failed));
    drop_it(failed()).await;
    let reply = on.step("A", failed()).await;
    assert!(matches!(reply, Reply::Waiting { .. }), "{reply:?}");
    on.clock.advance(PAUSE);
    let next = on.start_as("A", of_another()).await;
    assert_eq!(next.number, 2);
    settle(&on).await;
    assert_eq!(
        on.step("A", complete(next.token, "1")).await,
        Reply::Recorded
    );
}

/// Gives what was asked for earlier the time to happen.
async fn settle(on: &Subject) {
    for _ in 0..3 {
        on.ledger.write_notes(Vec::new(), Vec::new()).await.unwrap();
        on.ledger.sweep(0, TTL).await.unwrap();
        on.step("B", Step::Sweep).await;
    }
}

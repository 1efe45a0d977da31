//! Laws of transactions. They hold for a ledger that has them.

use std::sync::Arc;

use futures_util::future::join;

use super::{LEASE, Subject, claim, complete, failed, id, of_another};
use crate::ledger::{CommitError, LedgerError, Transaction};
use crate::protocol::{
    AttemptOutcome, Claim, Foreseen, Grant, NoteChange, Record, Reply, Seen, Step, StoredResult,
    WholeAttempt,
};

async fn begin(on: &Subject) -> Option<Box<dyn Transaction>> {
    if !on.ledger.capabilities().transactions {
        return None;
    }
    Some(on.ledger.begin().await.unwrap())
}

fn with_note(token: u64) -> Step {
    Step::Complete {
        token,
        result: StoredResult::json(b"7".as_slice()),
        notes: vec![NoteChange::put("out/1", *b"1")],
    }
}

async fn runs(on: &Subject) -> bool {
    let record = on.ledger.record(&id("A")).await.unwrap();
    let notes = on.ledger.notes("out/", None, 10).await.unwrap();
    matches!(record, Some(Record::Live(_))) && notes.is_empty()
}

/// A result that is recorded in a transaction counts once that is committed, with its notes.
pub async fn a_committed_transaction_recorded_its_result(on: Arc<Subject>) {
    let Grant { token, .. } = on.start("A").await;
    let Some(transaction) = begin(&on).await else {
        return;
    };
    assert!(runs(&on).await, "it is not committed");
    let reply = transaction.finish(&id("A"), with_note(token)).await;
    assert_eq!(reply.unwrap(), Reply::Recorded);
    let reply = on.step("A", Step::Claim(of_another())).await;
    assert!(matches!(reply, Reply::Replay { .. }), "{reply:?}");
    assert_eq!(on.ledger.notes("out/", None, 10).await.unwrap().len(), 1);
    // The report was recorded, and its answer was lost.
    assert_eq!(on.step("A", complete(token, "7")).await, Reply::Recorded);
}

/// Nothing of a transaction that is dropped happens, and the claim goes on.
pub async fn a_dropped_transaction_does_nothing(on: Arc<Subject>) {
    let Grant { token, .. } = on.start("A").await;
    let Some(transaction) = begin(&on).await else {
        return;
    };
    drop(transaction);
    assert!(runs(&on).await);
    let renewed = on
        .step(
            "A",
            Step::Renew {
                token,
                lease: LEASE,
            },
        )
        .await;
    assert_eq!(renewed, Reply::Recorded);
    assert_eq!(on.step("A", with_note(token)).await, Reply::Recorded);
}

/// A note whose key is too long is refused in a transaction too.
pub async fn a_transaction_refuses_a_note_whose_key_is_too_long(on: Arc<Subject>) {
    let Grant { token, .. } = on.start("A").await;
    let Some(transaction) = begin(&on).await else {
        return;
    };
    let report = Step::Complete {
        token,
        result: StoredResult::json(b"7".as_slice()),
        notes: vec![NoteChange::put("x".repeat(300), *b"1")],
    };
    let refused = transaction.finish(&id("A"), report).await;
    let too_long = |refused: &_| {
        matches!(
            refused,
            Err(CommitError::NotCommitted(LedgerError::KeyTooLong { .. }))
        )
    };
    assert!(too_long(&refused), "{refused:?}");
    assert!(runs(&on).await);
}

/// A transaction whose claim has passed on records nothing.
pub async fn a_transaction_of_a_lost_claim_records_nothing(on: Arc<Subject>) {
    let first = on.start("A").await;
    let Some(transaction) = begin(&on).await else {
        return;
    };
    on.clock.advance(LEASE);
    let second = on.start_as("A", of_another()).await;
    assert_eq!(second.number, 2);
    let reply = transaction.finish(&id("A"), with_note(first.token)).await;
    assert_eq!(reply.unwrap(), Reply::LeaseLost);
    assert!(runs(&on).await);
    let recorded = on.step("A", complete(second.token, "2")).await;
    assert_eq!(recorded, Reply::Recorded);
}

/// When a claim passes on while its transaction is committed, one of them comes first: the other
/// sees it, or waits for it.
pub async fn a_commit_and_another_claim_exclude_each_other(on: Arc<Subject>) {
    let first = on.start("A").await;
    let Some(transaction) = begin(&on).await else {
        return;
    };
    on.clock.advance(LEASE);
    let claim = on.step("A", Step::Claim(of_another()));
    match join(claim, transaction.finish(&id("A"), with_note(first.token))).await {
        (Reply::Replay { .. }, Ok(Reply::Recorded)) => {}
        (Reply::Run(second), Ok(Reply::LeaseLost) | Err(CommitError::NotCommitted(_))) => {
            assert_eq!(second.number, 2);
            assert!(runs(&on).await);
        }
        both => panic!("{both:?}"),
    }
}

/// What a claim would come to, without the transaction that may have been begun.
async fn foresee(on: &Subject, claim: Claim) -> Foreseen {
    on.ledger.foresee(&id("A"), claim).await.unwrap().0
}

/// An attempt that has no claim.
struct Unclaimed(Claim, Grant, Seen);

impl Unclaimed {
    async fn foreseen(on: &Subject, claim: Claim) -> Self {
        match foresee(on, claim.clone()).await {
            Foreseen::Run(grant, seen) => Self(claim, grant, seen),
            other => panic!("{other:?}"),
        }
    }

    fn whole(&self, report: Step) -> Step {
        let Self(claim, grant, seen) = self;
        let whole = WholeAttempt::new(claim.clone(), *grant, seen.clone(), report);
        Step::Attempt(Box::new(whole))
    }

    fn done(&self) -> Step {
        self.whole(with_note(self.1.token))
    }

    fn failed(&self) -> Step {
        self.whole(Step::Fail(failed(self.1.token, AttemptOutcome::Failed)))
    }
}

/// An attempt whose claim is foreseen leaves nothing until its transaction is committed.
pub async fn an_attempt_without_a_claim_is_recorded_as_a_whole(on: Arc<Subject>) {
    let Some(transaction) = begin(&on).await else {
        return;
    };
    let attempt = Unclaimed::foreseen(&on, claim()).await;
    assert_eq!(attempt.1.number, 1);
    assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);
    let recorded = transaction.finish(&id("A"), attempt.done()).await;
    assert_eq!(recorded.unwrap(), Reply::Recorded);
    let reply = on.step("A", Step::Claim(of_another())).await;
    assert!(matches!(reply, Reply::Replay { .. }), "{reply:?}");
    assert_eq!(on.ledger.notes("out/", None, 10).await.unwrap().len(), 1);
    // The answer was lost: the result is there, and the failure comes too late.
    assert_eq!(on.step("A", attempt.done()).await, Reply::Recorded);
    assert_eq!(on.step("A", attempt.failed()).await, Reply::LeaseLost);
    let foreseen = foresee(&on, claim()).await;
    assert!(
        matches!(foreseen, Foreseen::Answer(Reply::Replay { .. })),
        "{foreseen:?}"
    );
}

/// Of two attempts that ran at once without a claim, the first commit counts.
pub async fn of_two_attempts_without_a_claim_one_is_recorded(on: Arc<Subject>) {
    let (Some(one), Some(two)) = (begin(&on).await, begin(&on).await) else {
        return;
    };
    let first = Unclaimed::foreseen(&on, claim()).await;
    let second = Unclaimed::foreseen(&on, of_another()).await;
    let recorded = one.finish(&id("A"), first.done()).await;
    assert_eq!(recorded.unwrap(), Reply::Recorded);
    let reply = two.finish(&id("A"), second.done()).await.unwrap();
    assert!(matches!(reply, Reply::Replay { .. }), "{reply:?}");
    let reply = on.step("A", second.failed()).await;
    assert!(matches!(reply, Reply::Replay { .. }), "{reply:?}");
    assert_eq!(on.ledger.notes("out/", None, 10).await.unwrap().len(), 1);
}

/// Failures of attempts without a claim count once, also of two that ran at once.
pub async fn a_failed_attempt_without_a_claim_counts(on: Arc<Subject>) {
    if !on.ledger.capabilities().transactions {
        return;
    }
    let first = Unclaimed::foreseen(&on, claim()).await;
    let second = Unclaimed::foreseen(&on, of_another()).await;
    for attempt in [&first, &first, &second] {
        let reply = on.step("A", attempt.failed()).await;
        assert!(matches!(reply, Reply::Waiting { .. }), "{reply:?}");
    }
    // A failure whose answer was lost is no other one, whatever came between.
    assert_eq!(on.step("A", first.failed()).await, Reply::LeaseLost);
    let Some(Record::Live(live)) = on.ledger.record(&id("A")).await.unwrap() else {
        panic!("it waits");
    };
    let numbers: Vec<_> = live.past.iter().map(|past| past.number).collect();
    assert_eq!(numbers, [1, 2]);
}

/// A result of an attempt without a claim does not count once another attempt has failed.
pub async fn an_attempt_is_not_recorded_after_another_one_failed(on: Arc<Subject>) {
    let Some(transaction) = begin(&on).await else {
        return;
    };
    let slow = Unclaimed::foreseen(&on, claim()).await;
    let quick = Unclaimed::foreseen(&on, of_another()).await;
    let Reply::Waiting { at } = on.step("A", quick.failed()).await else {
        panic!("it waits");
    };
    let reply = transaction.finish(&id("A"), slow.done()).await.unwrap();
    assert_eq!(reply, Reply::NotYet { at });
    let foreseen = foresee(&on, claim()).await;
    assert_eq!(foreseen, Foreseen::Answer(Reply::NotYet { at }));
    on.clock.set(at);
    let transaction = on.ledger.begin().await.unwrap();
    let reply = transaction.finish(&id("A"), slow.done()).await.unwrap();
    assert_eq!(reply, Reply::LeaseLost, "it would be the second attempt");
    assert_eq!(Unclaimed::foreseen(&on, claim()).await.1.number, 2);
    assert!(runs(&on).await, "it is live, and nothing was sent");
}

/// Where a claim runs, or ran as its process died, the claim has to be made.
pub async fn a_record_that_runs_is_not_foreseen(on: Arc<Subject>) {
    if !on.ledger.capabilities().transactions {
        return;
    }
    on.start("A").await;
    for _ in 0..2 {
        let foreseen = foresee(&on, of_another()).await;
        assert_eq!(foreseen, Foreseen::Claim);
        on.clock.advance(LEASE);
    }
}

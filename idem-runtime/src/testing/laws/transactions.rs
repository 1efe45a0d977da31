//! Laws of transactions. They hold for a ledger that has them.

use std::sync::Arc;

use futures_util::future::join;

use super::{LEASE, Subject, complete, id, of_another};
use crate::ledger::{CommitError, LedgerError, Transaction};
use crate::protocol::{Grant, NoteChange, Record, Reply, Step, StoredResult};

async fn begin(on: &Subject) -> Option<Box<dyn Transaction>> {
    if !on.ledger.capabilities().transactions {
        return None;
    }
    Some(on.ledger.begin().await.unwrap())
}

fn with_note(token: u64) -> Step {
    Step::Complete {
        token,
        result: StoredResult::Json(b"7".as_slice().into()),
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
    let Some(mut transaction) = begin(&on).await else {
        return;
    };
    let reply = transaction.apply(&id("A"), with_note(token)).await.unwrap();
    assert_eq!(reply, Reply::Recorded);
    assert!(runs(&on).await, "it is not committed");
    transaction.commit().await.unwrap();
    let reply = on.step("A", Step::Claim(of_another())).await;
    assert!(matches!(reply, Reply::Replay(_)), "{reply:?}");
    assert_eq!(on.ledger.notes("out/", None, 10).await.unwrap().len(), 1);
    // The report was recorded, and its answer was lost.
    assert_eq!(on.step("A", complete(token, "7")).await, Reply::Recorded);
}

/// Nothing of a transaction that is dropped happens, and the claim goes on.
pub async fn a_dropped_transaction_does_nothing(on: Arc<Subject>) {
    let Grant { token, .. } = on.start("A").await;
    let Some(mut transaction) = begin(&on).await else {
        return;
    };
    transaction.apply(&id("A"), with_note(token)).await.unwrap();
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
    let Some(mut transaction) = begin(&on).await else {
        return;
    };
    let report = Step::Complete {
        token,
        result: StoredResult::Json(b"7".as_slice().into()),
        notes: vec![NoteChange::put("x".repeat(300), *b"1")],
    };
    let refused = transaction.apply(&id("A"), report).await;
    assert!(
        matches!(refused, Err(LedgerError::KeyTooLong { .. })),
        "{refused:?}"
    );
    drop(transaction);
    assert!(runs(&on).await);
}

/// A transaction whose claim has passed on records nothing.
pub async fn a_transaction_of_a_lost_claim_records_nothing(on: Arc<Subject>) {
    let first = on.start("A").await;
    let Some(mut transaction) = begin(&on).await else {
        return;
    };
    on.clock.advance(LEASE);
    let second = on.start_as("A", of_another()).await;
    assert_eq!(second.number, 2);
    let reply = transaction.apply(&id("A"), with_note(first.token)).await;
    assert_eq!(reply.unwrap(), Reply::LeaseLost);
    drop(transaction);
    assert!(runs(&on).await);
    let recorded = on.step("A", complete(second.token, "2")).await;
    assert_eq!(recorded, Reply::Recorded);
}

/// When a claim passes on while its transaction is committed, one of them comes first: the other
/// sees it, or waits for it.
pub async fn a_commit_and_another_claim_exclude_each_other(on: Arc<Subject>) {
    let first = on.start("A").await;
    let Some(mut transaction) = begin(&on).await else {
        return;
    };
    let reply = transaction.apply(&id("A"), with_note(first.token)).await;
    assert_eq!(reply.unwrap(), Reply::Recorded);
    on.clock.advance(LEASE);
    let claim = on.step("A", Step::Claim(of_another()));
    match join(claim, transaction.commit()).await {
        (Reply::Replay(_), Ok(())) => {}
        (Reply::Run(second), Err(CommitError::NotCommitted(_))) => {
            assert_eq!(second.number, 2);
            assert!(runs(&on).await);
        }
        both => panic!("{both:?}"),
    }
}

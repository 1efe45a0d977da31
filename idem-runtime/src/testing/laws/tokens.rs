//! The law of fencing tokens.

use std::sync::Arc;

use super::{Subject, TTL, claim, complete, failed, id, redrive};
use crate::protocol::{Actor, AttemptOutcome, DeadLetter, Reply, Step};

/// The token of each claim of a key is larger than those before, whatever became of the key:
/// given back, expired, dead and redriven, or on another opening of the ledger.
pub async fn tokens_of_a_key_only_grow(on: Arc<Subject>) {
    let mut last = 0;
    for _ in 0..2 {
        let token = grown(&on, &mut last).await;
        on.step("A", Step::GiveBack { token }).await;
        assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);
    }
    for _ in 0..2 {
        let token = grown(&on, &mut last).await;
        on.step("A", complete(token, "1")).await;
        forget(&on).await;
    }
    let letter = kill(&on, &mut last).await;
    on.step("A", redrive(letter.id)).await;
    let letter = kill(&on, &mut last).await;
    let absent = Step::Redrive {
        letter: letter.id,
        payload: None,
        by: Actor::default(),
    };
    on.step("A", absent).await;
    assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);
    let token = grown(&on, &mut last).await;
    on.step("A", complete(token, "1")).await;
    forget(&on).await;
    if let Some(on) = on.reopened().await {
        let token = grown(&on, &mut last).await;
        on.step("A", complete(token, "1")).await;
        forget(&on).await;
        grown(&on, &mut last).await;
    }
}

async fn grown(on: &Subject, last: &mut u64) -> u64 {
    let token = on.start_as("A", claim()).await.token;
    assert!(token > *last, "token {token} after {last}");
    *last = token;
    token
}

async fn kill(on: &Subject, last: &mut u64) -> DeadLetter {
    let failed = failed(grown(on, last).await, AttemptOutcome::Permanent);
    match on.step("A", Step::Fail(failed)).await {
        Reply::DeadLettered(letter) => *letter,
        other => panic!("expected a letter, got {other:?}"),
    }
}

/// Lets the result expire, and everything that is kept in its place.
async fn forget(on: &Subject) {
    for _ in 0..2 {
        on.clock.advance(TTL);
        on.ledger.sweep(100, TTL).await.unwrap();
    }
    assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);
}

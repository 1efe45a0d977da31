//! Laws of how attempts end.

use std::sync::Arc;
use std::time::Duration;

use super::{PAUSE, Subject, TTL, claim, complete, id, redrive};
use crate::clock::Clock as _;
use crate::ledger::Waiting;
use crate::protocol::{AttemptOutcome, Grant, OnCrash, Reason, Reply, Step, StoredResult};

/// What was recorded is what duplicates get, byte for byte: `()`, `false`, `0` and `None` too.
pub async fn a_result_is_replayed_exactly(on: Arc<Subject>) {
    for json in [
        "null",
        "false",
        "0",
        "\"\"",
        "[]",
        "{}",
        r#"{"total_cents":2500}"#,
    ] {
        let started = on.start(json).await;
        assert_eq!(
            on.step(json, complete(started.token, json)).await,
            Reply::Recorded
        );
        for _ in 0..2 {
            let replay = on.replay(json).await;
            assert_eq!(replay, StoredResult::json(json.as_bytes()));
        }
    }
    let started = on.start("large").await;
    on.step(
        "large",
        Step::Complete {
            token: started.token,
            result: StoredResult::TooLarge(17),
            notes: Vec::new(),
        },
    )
    .await;
    assert_eq!(on.replay("large").await, StoredResult::TooLarge(17));
}

/// The largest payloads, results and letters come back whole.
pub async fn large_values_come_back_whole(on: Arc<Subject>) {
    let mut large = claim();
    large.payload = format!(r#"{{"note":"{}"}}"#, "p".repeat(1 << 20))
        .into_bytes()
        .into();
    let result = format!("\"{}\"", "r".repeat(16 << 20));
    let started = on.start_as("A", large.clone()).await;
    assert_eq!(
        on.step("A", complete(started.token, &result)).await,
        Reply::Recorded
    );
    let Reply::Replay {
        result: StoredResult::Json { json: replayed, .. },
        ..
    } = on.step("A", Step::Claim(large.clone())).await
    else {
        panic!("expected a replay")
    };
    assert!(
        *replayed == *result.as_bytes(),
        "{} bytes came back",
        replayed.len()
    );
    let started = on.start_as("B", large.clone()).await;
    let Reply::DeadLettered(written) = on.fail("B", started.token, AttemptOutcome::Permanent).await
    else {
        panic!("expected a letter")
    };
    let letter = on.ledger.letter(written.id).await.unwrap().unwrap();
    assert!(letter.payload.as_str().as_bytes() == &*large.payload);
    assert_eq!(on.step("B", redrive(letter.id)).await, Reply::Recorded);
    assert_eq!(
        on.ledger.letter(letter.id).await.unwrap().unwrap().payload,
        letter.payload
    );
}

/// After a failure nothing runs before the pause has passed; then the next attempt does.
pub async fn a_failure_waits_for_its_pause(on: Arc<Subject>) {
    let started = on.start("A").await;
    let Reply::Waiting { at } = on.fail("A", started.token, AttemptOutcome::Failed).await else {
        panic!("there are attempts left")
    };
    assert_eq!(
        on.step("A", Step::Claim(claim())).await,
        Reply::NotYet { at }
    );
    on.clock.advance(PAUSE);
    assert_eq!(on.start("A").await.number, 2);
}

/// A sweep counts the messages that wait for an attempt, and says when the oldest of them first came. A
/// ledger need not count them in each sweep.
pub async fn messages_that_wait_are_counted(on: Arc<Subject>) {
    let counted = async || loop {
        if let Some(waiting) = on.ledger.sweep(0, TTL).await.unwrap().waiting {
            return waiting;
        }
        tokio::task::yield_now().await;
    };
    let runs = on.start("runs").await;
    assert_eq!(counted().await, Waiting::default());
    on.clock.advance(PAUSE);
    let mut oldest = Vec::new();
    for (count, key) in (1..).zip(["A", "B"]) {
        let started = on.start(key).await;
        on.fail(key, started.token, AttemptOutcome::Failed).await;
        let waiting = counted().await;
        assert_eq!(waiting.count, count);
        oldest.extend(waiting.oldest);
        on.clock.advance(PAUSE);
    }
    assert_eq!(oldest[0], oldest[1]);
    let again = on.start("A").await;
    let other = counted().await;
    assert!(other.count == 1 && other.oldest > Some(oldest[0]));
    on.step("A", complete(again.token, "1")).await;
    assert_eq!(counted().await, other);
    on.fail("runs", runs.token, AttemptOutcome::Outage).await;
    let first = counted().await;
    assert!(first.count == 2 && first.oldest < Some(oldest[0]));
    // What dies waits no longer, and what is redriven waits again.
    let letter = on.kill("C").await.id;
    assert_eq!(counted().await.count, 2);
    on.step("C", redrive(letter)).await;
    assert_eq!(counted().await.count, 3);
}

/// However often what the body needs is down, the message has its whole budget, and its pauses. The
/// history tells of outages in a row as one.
pub async fn an_outage_costs_no_attempt(on: Arc<Subject>) {
    const OUTAGES: u32 = 20;
    let started = on.start("A").await;
    on.fail("A", started.token, AttemptOutcome::Failed).await;
    for outages in 0..OUTAGES {
        on.clock.advance(PAUSE);
        let started = on.start("A").await;
        assert_eq!((started.number, started.outages), (2, outages));
        let Reply::Waiting { at } = on.fail("A", started.token, AttemptOutcome::Outage).await
        else {
            panic!("an outage kills nothing")
        };
        match on.step("A", Step::Claim(claim())).await {
            // Time passes on a bad network.
            Reply::Run(grant) if on.clock.now() >= at => {
                let token = grant.token;
                on.step("A", Step::GiveBack { token }).await;
            }
            reply => assert_eq!(reply, Reply::NotYet { at }),
        }
    }
    for number in 2..=3 {
        on.clock.advance(PAUSE);
        let started = on.start("A").await;
        assert_eq!(started.number, number);
        let reply = on.fail("A", started.token, AttemptOutcome::Failed).await;
        if number == 2 {
            assert!(matches!(reply, Reply::Waiting { .. }), "{reply:?}");
            continue;
        }
        let Reply::DeadLettered(letter) = reply else {
            panic!("the budget is spent, got {reply:?}")
        };
        let told = letter.attempts.iter();
        let told: Vec<_> = told
            .map(|past| (past.number, past.outcome, past.times()))
            .collect();
        let (failed, outage) = (AttemptOutcome::Failed, AttemptOutcome::Outage);
        assert_eq!(
            told,
            [
                (1, failed, 1),
                (2, outage, OUTAGES),
                (2, failed, 1),
                (3, failed, 1)
            ]
        );
    }
}

/// A pause is over when its start lies in the future, or the ledger's own time does not step back.
pub async fn a_clock_that_steps_back_does_not_lengthen_a_pause(on: Arc<Subject>) {
    let started = on.start("A").await;
    on.fail("A", started.token, AttemptOutcome::Failed).await;
    let earlier = crate::clock::Clock::now(&on.clock) - jiff::SignedDuration::from_hours(1);
    on.clock.set(earlier);
    let mut reply = on.step("A", Step::Claim(claim())).await;
    if let Reply::NotYet { .. } = reply {
        on.clock.advance(PAUSE);
        reply = on.step("A", Step::Claim(claim())).await;
    }
    assert!(
        matches!(reply, Reply::Run(Grant { number: 2, .. })),
        "{reply:?}"
    );
}

/// A deploy that lowers the budget, or allows no guess any more, kills nothing that waits: it has
/// one more attempt, and that one is judged by what is allowed now. A claim that was never reported
/// is judged by what was allowed when it was granted.
pub async fn a_lowered_budget_takes_effect_with_the_next_attempt(on: Arc<Subject>) {
    let mut lower = claim();
    (lower.budget.retries, lower.budget.on_crash) = (0, OnCrash::Bury);
    for outcome in [AttemptOutcome::Failed, AttemptOutcome::Dropped] {
        let key = outcome.as_str();
        for number in 1..=2 {
            let started = on.start(key).await;
            assert_eq!(started.number, number);
            let Reply::Waiting { at } = on.fail(key, started.token, outcome).await else {
                panic!("there are attempts left")
            };
            assert_eq!(
                on.step(key, Step::Claim(lower.clone())).await,
                Reply::NotYet { at }
            );
            on.clock.advance(PAUSE);
        }
        assert_eq!(on.ledger.sweep(0, TTL).await.unwrap().dead_lettered, []);
        let started = on.start_as(key, lower.clone()).await;
        // Given back, it has the same attempt before it.
        assert_eq!(
            on.step(
                key,
                Step::GiveBack {
                    token: started.token
                }
            )
            .await,
            Reply::Recorded
        );
        assert_eq!(on.ledger.sweep(0, TTL).await.unwrap().dead_lettered, []);
        let started = on.start_as(key, lower.clone()).await;
        assert_eq!(started.number, 3);
        let Reply::DeadLettered(letter) = on.fail(key, started.token, AttemptOutcome::Failed).await
        else {
            panic!("expected a letter")
        };
        assert_eq!(
            (letter.reason, letter.attempts.len()),
            (Reason::BudgetSpent, 3)
        );
    }
    on.start("never reported").await;
    let started = on.start_as("never reported", lower.clone()).await;
    assert_eq!(started.number, 2);
    let Reply::DeadLettered(letter) = on.step("never reported", Step::Claim(claim())).await else {
        panic!("expected a letter")
    };
    assert_eq!(
        (letter.reason, letter.attempts.len()),
        (Reason::UnknownOutcome, 2)
    );
}

/// A report whose answer was lost can be said again.
pub async fn a_report_said_twice_is_recorded_once(on: Arc<Subject>) {
    let started = on.start("A").await;
    let waiting = on.fail("A", started.token, AttemptOutcome::Failed).await;
    assert_eq!(
        on.fail("A", started.token, AttemptOutcome::Failed).await,
        waiting
    );
    on.clock.advance(PAUSE);
    let started = on.start("A").await;
    assert_eq!(started.number, 2);
    assert_eq!(
        on.step("A", complete(started.token, "1")).await,
        Reply::Recorded
    );
    assert_eq!(
        on.step("A", complete(started.token, "1")).await,
        Reply::Recorded
    );
    let started = on.start("B").await;
    let Reply::DeadLettered(letter) = on.fail("B", started.token, AttemptOutcome::Permanent).await
    else {
        panic!("expected a letter")
    };
    let again = on.fail("B", started.token, AttemptOutcome::Permanent).await;
    assert_eq!(
        again,
        Reply::Dead {
            letter: letter.id,
            discarded: false
        }
    );
}

/// After its time to live a result is forgotten, and its key is new.
pub async fn a_result_is_forgotten_after_its_time(on: Arc<Subject>) {
    let started = on.start("A").await;
    on.step("A", complete(started.token, "1")).await;
    on.clock.advance(TTL - PAUSE);
    assert!(matches!(
        on.step("A", Step::Claim(claim())).await,
        Reply::Replay { .. }
    ));
    assert_eq!(on.ledger.sweep(100, TTL).await.unwrap().removed, 0);
    on.clock.advance(PAUSE);
    assert_eq!(on.start("A").await.number, 1);
    let started = on.start("B").await;
    on.step("B", complete(started.token, "1")).await;
    // The first result of A may go only now, and a ledger may keep a row for a little longer.
    on.clock.advance(TTL + Duration::from_secs(120));
    // How many were removed may be among the answers that a network loses.
    on.ledger.sweep(100, TTL).await.unwrap();
    assert_eq!(on.ledger.record(&id("B")).await.unwrap(), None);
}

/// A key is issued to one, and again only when it has lapsed.
pub async fn a_key_is_issued_once_until_it_lapses(on: Arc<Subject>) {
    let issue = || on.step("A", Step::Issue { ttl: TTL });
    assert_eq!(issue().await, Reply::Recorded);
    assert_eq!(issue().await, Reply::AlreadyIssued);
    on.clock.advance(TTL - PAUSE);
    assert_eq!(issue().await, Reply::AlreadyIssued);
    on.clock.advance(PAUSE);
    assert_eq!(issue().await, Reply::Recorded);
    // No message takes the place of an issued key.
    assert_eq!(on.step("A", Step::Claim(claim())).await, Reply::KeyReused);
    on.start("B").await;
    assert_eq!(
        on.step("B", Step::Issue { ttl: TTL }).await,
        Reply::AlreadyIssued
    );
}

/// A key that lapsed and is issued for longer than before is issued to one all the same.
pub async fn a_key_that_is_issued_for_longer_is_issued_once(on: Arc<Subject>) {
    let short = TTL / 100;
    for (key, ttl, expected) in [
        ("B", TTL, Reply::Recorded),
        ("A", short, Reply::Recorded),
        ("A", TTL, Reply::AlreadyIssued),
    ] {
        assert_eq!(on.step(key, Step::Issue { ttl }).await, expected);
    }
    on.clock.advance(short);
    assert_eq!(
        on.step("A", Step::Issue { ttl: TTL }).await,
        Reply::Recorded
    );
    assert_eq!(
        on.step("A", Step::Issue { ttl: TTL }).await,
        Reply::AlreadyIssued
    );
}

//! Laws of the right to run.

use std::sync::Arc;

use super::{LEASE, PAUSE, Subject, TTL, claim, complete, discard, id, of_another};
use crate::ledger::Leases;
use crate::protocol::{AttemptOutcome, Claim, Fingerprint, Grant, OnCrash, RecordId, Reply, Step};

/// A key never seen before runs, as attempt 1.
pub async fn a_first_claim_runs_as_attempt_one(on: Arc<Subject>) {
    assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);
    assert_eq!(on.start("A").await.number, 1);
}

/// While a claim lives, another owner's claim is told to wait.
pub async fn a_live_claim_is_given_once(on: Arc<Subject>) {
    on.start("A").await;
    let other = of_another();
    assert!(matches!(
        on.step("A", Step::Claim(other)).await,
        Reply::Busy { .. }
    ));
}

/// However many claim at once, one gets it.
pub async fn of_many_claims_at_once_one_runs(on: Arc<Subject>) {
    let claims = (0..64).map(|owner| {
        let mut claim = claim();
        claim.owner = format!("owner {owner}").into();
        let answer = on.ledger.apply(&id("A"), Step::Claim(claim));
        tokio::spawn(answer)
    });
    let claims: Vec<_> = claims.collect();
    let mut ran = 0;
    for claim in claims {
        match claim.await.unwrap().unwrap() {
            Reply::Run(_) => ran += 1,
            Reply::Busy { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(ran, 1);
}

/// An owner that claims what it holds has lost track of it: the earlier attempt counts, as crashed.
pub async fn a_claim_of_its_own_that_was_never_reported_counts_as_crashed(on: Arc<Subject>) {
    on.start("A").await;
    assert_eq!(on.start("A").await.number, 2);
    assert_eq!(on.start("A").await.number, 3);
    let Reply::DeadLettered(letter) = on.step("A", Step::Claim(claim())).await else {
        panic!("the budget is spent")
    };
    assert_eq!(letter.attempts.len(), 3);
    assert!(
        letter
            .attempts
            .iter()
            .all(|attempt| attempt.outcome.is_unknown() && attempt.end.is_none())
    );
}

/// Where leases count, one that has lapsed is a counted attempt, and the next owner runs.
pub async fn a_lapsed_lease_passes_the_claim_on(on: Arc<Subject>) {
    if on.ledger.capabilities().leases == Leases::None {
        return;
    }
    let first = on.start("A").await;
    on.clock.advance(LEASE);
    let other = of_another();
    let second = on.start_as("A", other).await;
    assert_eq!(second.number, 2);
    assert_eq!(
        on.step("A", complete(first.token, "1")).await,
        Reply::LeaseLost
    );
    assert_eq!(
        on.step("A", complete(second.token, "2")).await,
        Reply::Recorded
    );
}

/// A renewed claim stays with its owner.
pub async fn a_renewed_lease_does_not_lapse(on: Arc<Subject>) {
    let started = on.start("A").await;
    for _ in 0..3 {
        on.clock.advance(LEASE / 2);
        assert_eq!(
            on.step(
                "A",
                Step::Renew {
                    token: started.token,
                    lease: LEASE
                }
            )
            .await,
            Reply::Recorded
        );
    }
    let other = of_another();
    assert!(matches!(
        on.step("A", Step::Claim(other)).await,
        Reply::Busy { .. }
    ));
}

/// A report or a renewal with a token that is not the running claim's writes nothing.
pub async fn an_old_token_changes_nothing(on: Arc<Subject>) {
    let old = on.start("A").await;
    on.fail("A", old.token, AttemptOutcome::Failed).await;
    on.clock.advance(PAUSE);
    let new = on.start("A").await;
    let before = on.ledger.record(&id("A")).await.unwrap();
    assert_eq!(
        on.step("A", complete(old.token, "1")).await,
        Reply::LeaseLost
    );
    assert_eq!(
        on.fail("A", old.token, AttemptOutcome::Failed).await,
        Reply::LeaseLost
    );
    assert_eq!(
        on.step(
            "A",
            Step::Renew {
                token: old.token,
                lease: LEASE
            }
        )
        .await,
        Reply::LeaseLost
    );
    assert_eq!(
        on.step("never claimed", complete(1, "1")).await,
        Reply::LeaseLost
    );
    assert_eq!(on.ledger.record(&id("A")).await.unwrap(), before);
    assert_eq!(
        on.step("A", complete(new.token, "2")).await,
        Reply::Recorded
    );
}

/// A key that belongs to another message is refused, whatever became of that one.
pub async fn another_fingerprint_is_refused_in_every_state(on: Arc<Subject>) {
    let running = on.start("running").await;
    let waiting = on.start("waiting").await;
    on.fail("waiting", waiting.token, AttemptOutcome::Failed)
        .await;
    let done = on.start("done").await;
    on.step("done", complete(done.token, "1")).await;
    on.kill("dead").await;
    let letter = on.kill("discarded").await.id;
    on.step("discarded", discard(letter, "a test")).await;
    for key in ["running", "waiting", "done", "dead", "discarded"] {
        let other = of_another().fingerprint(Fingerprint([2; 16]));
        assert_eq!(
            on.step(key, Step::Claim(other)).await,
            Reply::KeyReused,
            "{key}"
        );
    }
    assert_eq!(
        on.step("running", complete(running.token, "1")).await,
        Reply::Recorded
    );
}

/// Where either side has no fingerprint, none is compared.
pub async fn a_claim_without_a_fingerprint_compares_none(on: Arc<Subject>) {
    let done = on.start("A").await;
    on.step("A", complete(done.token, "1")).await;
    let mut other = claim();
    other.fingerprint = None;
    assert!(matches!(
        on.step("A", Step::Claim(other)).await,
        Reply::Replay { .. }
    ));
}

/// Handler and key cannot run into each other, and any text is a key.
pub async fn odd_keys_do_not_meet(on: Arc<Subject>) {
    let long = "x".repeat(1024);
    let longer = format!("{}y", "x".repeat(1023));
    let pairs = [
        ("ab", "c"),
        ("a", "bc"),
        ("a", "b\0c"),
        ("a", "é🦀\n"),
        ("a", long.as_str()),
        ("a", longer.as_str()),
        ("m", "eta"),
        (long.as_str(), "k"),
    ];
    for (handler, key) in pairs {
        let id = RecordId::new(handler, key);
        let reply = on.ledger.apply(&id, Step::Claim(claim())).await.unwrap();
        assert!(
            matches!(reply, Reply::Run(Grant { number: 1, .. })),
            "{handler:?} {key:?}: {reply:?}"
        );
    }
}

/// A step that was begun is made, even if its answer is dropped.
pub async fn a_step_happens_even_when_its_future_is_dropped(on: Arc<Subject>) {
    let mut claiming = on.ledger.apply(&id("A"), Step::Claim(claim()));
    // Polled once, with whatever it says.
    let _ = futures_util::future::poll_immediate(claiming.as_mut()).await;
    drop(claiming);
    // A claim of now might overtake the dropped one.
    while on.ledger.record(&id("A")).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        on.step("A", Step::Claim(of_another())).await,
        Reply::Busy { .. }
    ));
}

/// A claim that is given back was no attempt: numbers and budget stay as they were, whatever the
/// budget says of guesses, and a new key is absent again. Only the running claim can be given back.
pub async fn a_claim_given_back_was_no_attempt(on: Arc<Subject>) {
    let mut careful = claim();
    careful.budget.on_crash = OnCrash::Bury;
    for _ in 0..5 {
        let started = on.start_as("A", careful.clone()).await;
        assert_eq!(started.number, 1);
        assert_eq!(
            on.step(
                "A",
                Step::GiveBack {
                    token: started.token
                }
            )
            .await,
            Reply::Recorded
        );
        assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);
        assert_eq!(
            on.step(
                "A",
                Step::GiveBack {
                    token: started.token
                }
            )
            .await,
            Reply::LeaseLost
        );
        assert_eq!(
            on.step("A", complete(started.token, "0")).await,
            Reply::LeaseLost
        );
    }
    // The key is another message's to have, and a large payload leaves nothing behind.
    let large = format!(r#"{{"note":"{}"}}"#, "p".repeat(10_000))
        .into_bytes()
        .into();
    let other = Claim {
        fingerprint: Some(Fingerprint([2; 16])),
        payload: large,
        ..claim()
    };
    let given_back = on.start_as("A", other.clone()).await;
    on.step(
        "A",
        Step::GiveBack {
            token: given_back.token,
        },
    )
    .await;
    let failed = on.start_as("A", other.clone()).await;
    assert!(failed.token > given_back.token);
    assert_eq!(
        on.step(
            "A",
            Step::GiveBack {
                token: given_back.token
            }
        )
        .await,
        Reply::LeaseLost
    );
    on.fail("A", failed.token, AttemptOutcome::Failed).await;
    on.clock.advance(PAUSE);
    for _ in 0..5 {
        let started = on.start_as("A", other.clone()).await;
        assert_eq!(started.number, 2);
        for _ in 0..2 {
            assert_eq!(
                on.step(
                    "A",
                    Step::GiveBack {
                        token: started.token
                    }
                )
                .await,
                Reply::Recorded
            );
        }
        // There is no pause, and the time to live begins again.
        on.clock.advance(TTL - PAUSE);
        assert_eq!(on.ledger.sweep(0, TTL).await.unwrap().dead_lettered, []);
    }
    let last = on.start_as("A", other).await;
    assert_eq!(
        (last.number, on.step("A", complete(last.token, "1")).await),
        (2, Reply::Recorded)
    );
    assert_eq!(
        on.step("A", Step::GiveBack { token: last.token }).await,
        Reply::LeaseLost
    );
}

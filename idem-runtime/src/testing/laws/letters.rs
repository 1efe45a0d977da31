//! Laws of death, and of what people do about it.

use std::sync::Arc;

use super::{PAUSE, Subject, TTL, claim, complete, discard, failed, id, redrive};
use crate::json::Json;
use crate::ledger::Filter;
use crate::protocol::{
    ActionKind, Actor, AttemptOutcome, Failed, Fingerprint, Grant, LetterState, OnCrash, Reason,
    Record, Reply, Settlement, Step, StoredResult,
};

async fn open_letters(on: &Subject) -> usize {
    let letters = on.ledger.letters(&Filter::default()).await.unwrap();
    assert_eq!(
        on.ledger.open_letters().await.unwrap(),
        letters.len() as u64
    );
    letters.len()
}

/// The last failure of a budget is a letter with every attempt in it, and there is one.
pub async fn the_last_failure_writes_one_letter(on: Arc<Subject>) {
    for number in 1..=3 {
        let started = on.start("A").await;
        assert_eq!(started.number, number);
        let reply = on.fail("A", started.token, AttemptOutcome::Failed).await;
        assert_eq!(
            matches!(reply, Reply::DeadLettered(_)),
            number == 3,
            "{reply:?}"
        );
        on.clock.advance(PAUSE);
    }
    assert_eq!(open_letters(&on).await, 1);
    let letter = on
        .ledger
        .letters(&Filter::default())
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (&*letter.handler, &*letter.key, letter.reason),
        ("laws", "A", Reason::BudgetSpent)
    );
    assert_eq!(letter.payload.as_str(), r#"{"sku":"TEA-500"}"#);
    assert_eq!(
        letter
            .attempts
            .iter()
            .map(|attempt| attempt.number)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(letter.last_error(), Some("no stock"));
    assert_eq!(
        on.ledger.letter(letter.id).await.unwrap().as_ref(),
        Some(&letter)
    );
    let record = on.ledger.record(&id("A")).await.unwrap();
    let Some(Record::Settled(settled)) = record else {
        panic!("expected a settled record, got {record:?}")
    };
    assert_eq!(settled.end, Settlement::Dead(letter.id));
}

/// A permanent error, and a result that cannot be stored, spend the budget at once.
pub async fn a_permanent_error_dies_at_once(on: Arc<Subject>) {
    for (outcome, reason) in [
        (AttemptOutcome::Permanent, Reason::PermanentError),
        (AttemptOutcome::ResultNotStorable, Reason::ResultNotStorable),
    ] {
        let started = on.start(outcome.as_str()).await;
        let Reply::DeadLettered(letter) = on.fail(outcome.as_str(), started.token, outcome).await
        else {
            panic!("expected a letter")
        };
        assert_eq!((letter.reason, letter.attempts.len()), (reason, 1));
    }
}

/// With `bury`, an attempt with an unknown outcome is the last; one with a returned error is not.
pub async fn an_unknown_outcome_is_buried_where_asked(on: Arc<Subject>) {
    let mut careful = claim();
    careful.budget.on_crash = OnCrash::Bury;
    for outcome in [AttemptOutcome::Dropped, AttemptOutcome::TimedOut] {
        let started = on.start_as(outcome.as_str(), careful.clone()).await;
        let Reply::DeadLettered(letter) = on.fail(outcome.as_str(), started.token, outcome).await
        else {
            panic!("expected a letter")
        };
        assert_eq!(letter.reason, Reason::UnknownOutcome);
    }
    on.start_as("crashed", careful.clone()).await;
    let Reply::DeadLettered(letter) = on.step("crashed", Step::Claim(careful.clone())).await else {
        panic!("expected a letter")
    };
    assert_eq!(
        (letter.reason, letter.attempts.len()),
        (Reason::UnknownOutcome, 1)
    );
    let started = on.start_as("returned", careful).await;
    assert!(matches!(
        on.fail("returned", started.token, AttemptOutcome::Failed)
            .await,
        Reply::Waiting { .. }
    ));
}

/// A dead message does not run, however often it comes and however long it waits.
pub async fn a_dead_message_does_not_run(on: Arc<Subject>) {
    let letter = on.kill("A").await.id;
    for _ in 0..3 {
        assert_eq!(
            on.step("A", Step::Claim(claim())).await,
            Reply::Dead {
                letter,
                discarded: false
            }
        );
        on.clock.advance(TTL);
        on.ledger.sweep(100, TTL).await.unwrap();
    }
    assert_eq!(open_letters(&on).await, 1);
}

/// A redriven key is new: a whole budget, a letter of its own when it dies again, and the old one
/// as history.
pub async fn a_redrive_gives_a_fresh_budget(on: Arc<Subject>) {
    let first = on.kill("A").await.id;
    assert_eq!(on.step("A", redrive(first)).await, Reply::Recorded);
    assert_eq!(open_letters(&on).await, 0);
    let history = on.ledger.letter(first).await.unwrap().unwrap();
    assert_eq!(
        (history.state, history.attempts.len()),
        (LetterState::Redriven, 1)
    );
    let second = on.kill("A").await.id;
    assert_ne!(first, second);
    on.step("A", redrive(second)).await;
    let Grant { token, number, .. } = on.start("A").await;
    assert_eq!(number, 1);
    assert_eq!(on.step("A", complete(token, "1")).await, Reply::Recorded);
    let all = on
        .ledger
        .letters(&Filter::default().key("A").any_state())
        .await
        .unwrap();
    assert_eq!(
        all.iter().map(|letter| letter.id).collect::<Vec<_>>(),
        [second, first]
    );
}

/// A claim from before a redrive is not valid after it.
pub async fn a_token_of_before_a_redrive_is_stale(on: Arc<Subject>) {
    let old = on.start("A").await;
    let Reply::DeadLettered(letter) = on.fail("A", old.token, AttemptOutcome::Permanent).await
    else {
        panic!("expected a letter")
    };
    on.step("A", redrive(letter.id)).await;
    assert_eq!(
        on.step("A", complete(old.token, "1")).await,
        Reply::LeaseLost
    );
    let new = on.start("A").await;
    assert!(new.token > old.token);
    assert_eq!(
        on.step("A", complete(old.token, "1")).await,
        Reply::LeaseLost
    );
}

/// A discarded message does not run; its time to live starts with the discard.
pub async fn a_discarded_message_does_not_run_until_its_time_is_over(on: Arc<Subject>) {
    let letter = on.kill("A").await.id;
    on.clock.advance(TTL * 2);
    assert_eq!(
        on.step("A", discard(letter, "a test order")).await,
        Reply::Recorded
    );
    assert_eq!(
        on.step("A", Step::Claim(claim())).await,
        Reply::Dead {
            letter,
            discarded: true
        }
    );
    assert_eq!(open_letters(&on).await, 0);
    let closed = on.ledger.letter(letter).await.unwrap().unwrap();
    assert_eq!(
        (closed.state, closed.closed_why.as_deref()),
        (LetterState::Discarded, Some("a test order"))
    );
    on.clock.advance(TTL);
    assert_eq!(on.start("A").await.number, 1);
}

/// A letter that is not open is not closed again, and a letter that never was is not either.
pub async fn a_letter_is_closed_once(on: Arc<Subject>) {
    let letter = on.kill("A").await.id;
    let other = on.kill("B").await.id;
    assert_eq!(on.step("A", redrive(other)).await, Reply::LetterNotOpen);
    assert_eq!(on.step("A", redrive(letter)).await, Reply::Recorded);
    assert_eq!(on.step("A", redrive(letter)).await, Reply::LetterNotOpen);
    assert_eq!(
        on.step("A", discard(letter, "")).await,
        Reply::LetterNotOpen
    );
    assert_eq!(
        on.step("never seen", redrive(letter)).await,
        Reply::LetterNotOpen
    );
    assert_eq!(open_letters(&on).await, 1);
}

/// Letters are listed newest first, a page at a time, by handler, key and state.
pub async fn letters_are_listed_newest_first_by_the_page(on: Arc<Subject>) {
    let mut written = Vec::new();
    for number in 0..250 {
        written.push(on.kill(&format!("A-{number:03}")).await.id);
        on.clock.advance(PAUSE);
    }
    written.reverse();
    let mut listed = Vec::new();
    let mut page = Filter::default();
    loop {
        let letters = on.ledger.letters(&page).await.unwrap();
        assert!(letters.len() <= 100);
        let Some(last) = letters.last() else { break };
        page = Filter::default().after(last.id);
        listed.extend(letters.iter().map(|letter| letter.id));
    }
    assert_eq!(listed, written);
    let one = on
        .ledger
        .letters(&Filter::default().handler("laws").key("A-007"))
        .await
        .unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(
        on.ledger
            .letters(&Filter::default().handler("others"))
            .await
            .unwrap(),
        []
    );
    on.step("A-007", redrive(one[0].id)).await;
    assert_eq!(
        on.ledger
            .letters(&Filter::default().limit(1000))
            .await
            .unwrap()
            .len(),
        249
    );
    assert_eq!(
        on.ledger
            .letters(&Filter::default().state(LetterState::Redriven))
            .await
            .unwrap()
            .len(),
        1
    );
    let everything = on
        .ledger
        .letters(&Filter::default().any_state().limit(usize::MAX))
        .await
        .unwrap();
    assert_eq!(
        everything
            .iter()
            .map(|letter| letter.id)
            .collect::<Vec<_>>(),
        written
    );
}

/// A message that failed and never came again becomes a letter when its pause has been over for its
/// time to live, however long the pause was.
pub async fn an_abandoned_message_becomes_a_letter(on: Arc<Subject>) {
    let paused = on.start("B").await;
    let failed = Failed {
        pause: TTL,
        ..failed(paused.token, AttemptOutcome::Failed)
    };
    assert!(matches!(
        on.step("B", Step::Fail(failed)).await,
        Reply::Waiting { .. }
    ));
    on.clock.advance(TTL);
    // The sweep is due at the same moment as the retry.
    assert_eq!(on.ledger.sweep(0, TTL).await.unwrap().dead_lettered, []);
    let retried = on.start("B").await;
    assert_eq!(
        (
            retried.number,
            on.step("B", complete(retried.token, "1")).await
        ),
        (2, Reply::Recorded)
    );
    let started = on.start("A").await;
    on.fail("A", started.token, AttemptOutcome::Failed).await;
    on.clock.advance(TTL);
    assert_eq!(on.ledger.sweep(0, TTL).await.unwrap().dead_lettered, []);
    on.clock.advance(PAUSE);
    let died = on.ledger.sweep(0, TTL).await.unwrap().dead_lettered;
    assert_eq!(
        died.iter()
            .map(|letter| (&*letter.key, letter.reason))
            .collect::<Vec<_>>(),
        [("A", Reason::Abandoned)]
    );
    assert_eq!(open_letters(&on).await, 1);
    assert_eq!(on.ledger.sweep(0, TTL).await.unwrap().dead_lettered, []);
}

/// Closed letters go after their retention, open ones never.
pub async fn closed_letters_are_history_for_a_while(on: Arc<Subject>) {
    let open = on.kill("A").await.id;
    let closed = on.kill("B").await.id;
    on.step("B", redrive(closed)).await;
    on.clock.advance(TTL);
    on.ledger.sweep(100, TTL + PAUSE).await.unwrap();
    assert!(on.ledger.letter(closed).await.unwrap().is_some());
    on.ledger.sweep(100, TTL).await.unwrap();
    assert_eq!(on.ledger.letter(closed).await.unwrap(), None);
    assert!(on.ledger.letter(open).await.unwrap().is_some());
}

/// A redrive that no claim follows is not forgotten: after the time to live it is a
/// letter again.
pub async fn a_redriven_message_that_never_comes_is_a_letter_again(on: Arc<Subject>) {
    let first = on.kill("A").await.id;
    on.step("A", redrive(first)).await;
    on.clock.advance(TTL - PAUSE);
    assert_eq!(on.ledger.sweep(0, TTL * 2).await.unwrap().dead_lettered, []);
    on.clock.advance(PAUSE);
    let died = on.ledger.sweep(0, TTL * 2).await.unwrap().dead_lettered;
    let [letter] = &died[..] else {
        panic!("expected one letter, got {died:?}")
    };
    assert_eq!(
        (letter.key.as_str(), letter.reason, letter.attempts.len()),
        ("A", Reason::Abandoned, 0)
    );
    assert_eq!(letter.payload.as_str(), r#"{"sku":"TEA-500"}"#);
    assert_eq!(
        letter.arguments,
        Some(2),
        "the payload may have been edited"
    );
    assert_eq!(on.step("A", redrive(letter.id)).await, Reply::Recorded);
    // Other content is welcome after a redrive, and is what counts from then on.
    let corrected = claim().fingerprint(Fingerprint([2; 16]));
    assert_eq!(on.start_as("A", corrected).await.number, 1);
    assert_eq!(on.step("A", Step::Claim(claim())).await, Reply::KeyReused);
}

/// An undone discard leaves the letter as it was, open; once the key is forgotten there is nothing
/// to undo.
pub async fn a_discard_can_be_undone(on: Arc<Subject>) {
    let letter = on.kill("A").await.id;
    let restore = || Step::Restore {
        letter,
        by: Actor {
            who: None,
            why: Some("wrong one".to_owned()),
        },
    };
    assert_eq!(on.step("A", restore()).await, Reply::LetterNotOpen);
    on.step("A", discard(letter, "a test order")).await;
    assert_eq!(on.step("A", restore()).await, Reply::Recorded);
    assert_eq!(
        on.step("A", Step::Claim(claim())).await,
        Reply::Dead {
            letter,
            discarded: false
        }
    );
    assert_eq!(open_letters(&on).await, 1);
    let open = on.ledger.letter(letter).await.unwrap().unwrap();
    assert_eq!(
        (open.state, open.closed_at, open.closed_why),
        (LetterState::Open, None, None)
    );
    let deeds: Vec<_> = open
        .history
        .iter()
        .map(|act| (act.kind.as_str(), act.by.why.as_deref()))
        .collect();
    assert_eq!(
        deeds,
        [
            ("discarded", Some("a test order")),
            ("restored", Some("wrong one"))
        ]
    );
    on.step("A", discard(letter, "after all")).await;
    on.clock.advance(TTL);
    assert_eq!(on.step("A", restore()).await, Reply::LetterNotOpen);
    assert_eq!(open_letters(&on).await, 0);
}

/// A discard that was undone leaves nothing behind that answers a claim, however the letter is
/// closed then.
pub async fn an_undone_discard_does_not_answer(on: Arc<Subject>) {
    for (key, awaited) in [("A", true), ("B", false)] {
        let letter = on.kill(key).await.id;
        on.step(key, discard(letter, "a test order")).await;
        assert_eq!(
            on.step(
                key,
                Step::Restore {
                    letter,
                    by: Actor::default()
                }
            )
            .await,
            Reply::Recorded
        );
        let dead = Reply::Dead {
            letter,
            discarded: false,
        };
        assert!(
            on.ledger
                .look(&id(key), &claim())
                .is_none_or(|reply| reply == dead)
        );
        let redrive = if awaited {
            redrive(letter)
        } else {
            Step::Redrive {
                letter,
                payload: None,
                by: Actor::default(),
            }
        };
        assert_eq!(on.step(key, redrive).await, Reply::Recorded);
        assert_eq!(on.ledger.look(&id(key), &claim()), None);
        assert_eq!(on.start(key).await.number, 1);
    }
}

/// An edit changes the letter's payload and nothing else; the old one is kept, with the person and
/// why. Numbers stay as they are written.
pub async fn an_edit_is_kept_with_what_was_before(on: Arc<Subject>) {
    let letter = on.kill("A").await.id;
    let by = Actor {
        who: Some("ann".to_owned()),
        why: Some("a typo".to_owned()),
    };
    let text = |sku: &str| {
        format!(r#"{{"sku":"{sku}","wei":20000000000000000001,"fee":12345678901234567.890}}"#)
    };
    let payload = |sku: &str| text(sku).parse::<Json>().unwrap();
    let edit = |sku: &str| Step::Edit {
        letter,
        sealed: None,
        payload: payload(sku),
        by: by.clone(),
    };
    assert_eq!(on.step("A", edit("TEA-250")).await, Reply::Recorded);
    assert_eq!(on.step("A", edit("TEA-100")).await, Reply::Recorded);
    let edited = on.ledger.letter(letter).await.unwrap().unwrap();
    assert_eq!(
        (edited.payload.as_str(), edited.state),
        (text("TEA-100").as_str(), LetterState::Open)
    );
    let before: Vec<_> = edited.history.iter().map(|act| act.kind.clone()).collect();
    let first = ActionKind::Edited(serde_json::json!({ "sku": "TEA-500" }).into());
    assert_eq!(before, [first, ActionKind::Edited(payload("TEA-250"))]);
    assert_eq!(edited.history[0].by, by);
    assert_eq!(
        on.step("A", Step::Claim(claim())).await,
        Reply::Dead {
            letter,
            discarded: false
        }
    );
    on.step("A", redrive(letter)).await;
    assert_eq!(on.step("A", edit("TEA-50")).await, Reply::LetterNotOpen);
}

/// An erasure removes a result, and the content of a letter in every state, and no body runs again
/// for it. A message that waits is left alone.
pub async fn what_is_erased_is_gone_and_stays_settled(on: Arc<Subject>) {
    let by = Actor {
        who: Some("ann".to_owned()),
        why: Some("request 17".to_owned()),
    };
    let erase = |letter| Step::Erase {
        letter,
        by: by.clone(),
    };
    let grant = on.start("done").await;
    on.step("done", complete(grant.token, "7")).await;
    assert_eq!(on.step("done", erase(None)).await, Reply::Recorded);
    assert_eq!(on.replay("done").await, StoredResult::Erased);

    let open = on.kill("open").await.id;
    let discarded = on.kill("discarded").await.id;
    on.step("discarded", discard(discarded, "a test order"))
        .await;
    let gone = on.kill("gone").await.id;
    let forget = Step::Redrive {
        letter: gone,
        payload: None,
        by: by.clone(),
    };
    on.step("gone", forget).await;
    let before = open_letters(&on).await;
    for (key, letter) in [("open", open), ("discarded", discarded), ("gone", gone)] {
        assert_eq!(on.step(key, erase(None)).await, Reply::Unchanged, "{key}");
        let reply = on.step(key, erase(Some(letter))).await;
        assert_eq!(reply, Reply::Recorded, "{key}");
        let after = on.ledger.letter(letter).await.unwrap().unwrap();
        assert!(after.is_erased(), "{after:?}");
        assert_ne!(after.state, LetterState::Open);
        assert_eq!(after.payload, ().into());
        assert_eq!(after.last_error(), None);
        assert_eq!(after.history.last().unwrap().by, by);
    }
    assert_eq!(open_letters(&on).await, before - 1);
    for (key, letter) in [("open", open), ("discarded", discarded)] {
        let dead = Reply::Dead {
            letter,
            discarded: true,
        };
        assert_eq!(on.step(key, Step::Claim(claim())).await, dead, "{key}");
    }
    assert_eq!(on.start("gone").await.number, 1);
    let reply = on.step("gone", erase(Some(gone))).await;
    assert_eq!(reply, Reply::LetterNotOpen, "it runs");
    assert_eq!(on.step("gone", erase(None)).await, Reply::LetterNotOpen);
}

/// A letter that is forgotten, as closed ones are after their retention, is not opened again,
/// whatever its record still says; and the record stays as it is.
pub async fn a_forgotten_letter_is_not_restored(on: Arc<Subject>) {
    let discarded = on.kill("discarded").await.id;
    on.step("discarded", discard(discarded, "a test order"))
        .await;
    let redriven = on.kill("redriven").await.id;
    on.step("redriven", redrive(redriven)).await;
    on.clock.advance(PAUSE);
    on.ledger.sweep(100, PAUSE).await.unwrap();
    for (key, letter) in [("discarded", discarded), ("redriven", redriven)] {
        assert_eq!(on.ledger.letter(letter).await.unwrap(), None);
        let before = on.ledger.record(&id(key)).await.unwrap();
        assert_eq!(
            on.step(
                key,
                Step::Restore {
                    letter,
                    by: Actor::default()
                }
            )
            .await,
            Reply::LetterNotOpen,
            "{key}"
        );
        assert_eq!(on.ledger.record(&id(key)).await.unwrap(), before, "{key}");
    }
    assert_eq!(open_letters(&on).await, 0);
    assert_eq!(
        on.step("discarded", Step::Claim(claim())).await,
        Reply::Dead {
            letter: discarded,
            discarded: true
        }
    );
    assert_eq!(on.start("redriven").await.number, 1);
}

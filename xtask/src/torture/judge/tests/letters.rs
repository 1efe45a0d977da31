//! What becomes of letters.

use super::*;

fn dead() -> Journal {
    journal(Handler::Plain).dies("A", [1, 2, 3, 4])
}

#[test]
fn one_for_a_dead_message() {
    dead()
        .letter("A", "open", "budget_spent", &FAILED)
        .left_dead(4, "A")
        .holds();
    let by_hand = dead().discarded("A", 4).told(Answer::Dead {
        letter: "A".into(),
        discarded: true,
    });
    by_hand
        .letter("A", "discarded", "budget_spent", &FAILED)
        .left_discarded(4, "A")
        .holds();
}

#[test]
fn told_and_gone() {
    let wrong = dead().left_dead(4, "A").faults();
    assert!(
        wrong
            .iter()
            .any(|(rule, said)| *rule == Rule::Lost && said.contains("it is gone")),
        "{wrong:#?}"
    );
}

#[test]
fn two_open_ones() {
    let wrong = dead().letter("A", "open", "budget_spent", &FAILED).letter(
        "B",
        "open",
        "budget_spent",
        &FAILED,
    );
    wrong
        .left_dead(4, "A")
        .breaks(Rule::Letters, "2 open letters");
}

#[test]
fn an_open_one_of_a_message_that_is_done() {
    let done = journal(Handler::Plain).works(1, 1).told_ok(1).left_done(1);
    done.letter("A", "open", "budget_spent", &FAILED)
        .breaks(Rule::Letters, "1 open letters");
}

#[test]
fn a_dead_message_without_one() {
    let wrong = dead()
        .redriven("A", 4)
        .letter("A", "redriven", "budget_spent", &FAILED)
        .left_dead(4, "B");
    wrong.breaks(Rule::Letters, "0 open letters");
}

#[test]
fn closed_without_an_act() {
    let wrong = dead()
        .letter("A", "redriven", "budget_spent", &FAILED)
        .left(Record::Absent)
        .faults();
    assert!(
        wrong
            .iter()
            .any(|(_, said)| said.contains("letter A is redriven, but the operator did None")),
        "{wrong:#?}"
    );
    let wrong =
        dead()
            .closing("A", 4, true)
            .killed()
            .letter("A", "discarded", "budget_spent", &FAILED);
    wrong
        .left_discarded(4, "A")
        .breaks(Rule::Letters, "letter A is discarded, but the operator did");
    let wrong = dead().told(Answer::Dead {
        letter: "A".into(),
        discarded: true,
    });
    let wrong = wrong
        .letter("A", "open", "budget_spent", &FAILED)
        .left_dead(4, "A");
    wrong.breaks(Rule::Letters, "is discarded, but not by the operator");
}

#[test]
fn closed_and_open_again() {
    let discarded = || dead().discarded("A", 4);
    let wrong = discarded()
        .letter("A", "open", "budget_spent", &FAILED)
        .left_dead(4, "A");
    wrong.breaks(Rule::Letters, "letter A is open");
    let wrong =
        discarded()
            .closing("A", 4, false)
            .letter("A", "discarded", "budget_spent", &FAILED);
    wrong
        .left_discarded(4, "A")
        .breaks(Rule::Letters, "was closed, and is open again");
    // A kill came before it was closed.
    let right = dead().closing("A", 4, true).killed().closing("A", 4, false);
    right
        .letter("A", "discarded", "budget_spent", &FAILED)
        .left_discarded(4, "A")
        .holds();
}

#[test]
fn with_another_handler_or_payload() {
    let found = |change: fn(&mut Letter)| {
        let journal = dead();
        let mut letter = journal.letter_of("A", "open", "budget_spent", &FAILED);
        change(&mut letter);
        journal.event(&Event::Letter(letter)).left_dead(4, "A")
    };
    found(|letter| letter.payload_fits = false).breaks(Rule::Letters, "another payload");
    found(|letter| letter.handler = "orders.place".into())
        .breaks(Rule::Letters, "of handler `orders.place`");
    found(|letter| letter.attempts[3].0 = 3).breaks(Rule::Letters, "its attempts are");
}

#[test]
fn with_a_reason_that_its_attempts_are_not() {
    let found = |handler, reason, outcomes: &[&str]| {
        let all = outcomes
            .iter()
            .zip(1..)
            .fold(journal(handler), |journal, (outcome, number)| {
                let ended = if *outcome == "permanent" {
                    Ended::Permanent
                } else {
                    Ended::Failed
                };
                let journal = journal.starts(number, number.into());
                if *outcome == "crashed" {
                    journal.killed()
                } else {
                    journal.ends(number.into(), ended)
                }
            });
        let last = outcomes.len() as u64;
        all.told_dead("A")
            .letter("A", "open", reason, outcomes)
            .left_dead(last, "A")
    };
    found(Handler::Plain, "budget_spent", &FAILED).holds();
    found(Handler::Plain, "budget_spent", &FAILED[..3])
        .breaks(Rule::Letters, "it died of `budget_spent`");
    found(Handler::Plain, "permanent_error", &["failed", "permanent"]).holds();
    found(Handler::Plain, "permanent_error", &["failed"])
        .breaks(Rule::Letters, "it died of `permanent_error`");
    found(Handler::Bury, "unknown_outcome", &["failed", "crashed"]).holds();
    found(Handler::Plain, "unknown_outcome", &["crashed"])
        .breaks(Rule::Letters, "it died of `unknown_outcome`");
    found(Handler::Brief, "abandoned", &["failed"]).holds();
    found(Handler::Plain, "abandoned", &["failed"]).breaks(Rule::Letters, "it died of `abandoned`");
    found(Handler::Plain, "result_not_storable", &["failed"]).breaks(Rule::Letters, "it died of");
}

#[test]
fn with_another_outcome_than_the_body_had() {
    let found = |handler: Handler, how, outcome: &str| {
        let attempts = handler.attempts();
        let first = journal(handler).starts(1, 1).ends(1, how);
        let all = (2..=attempts).fold(first, |journal, number| {
            journal.fails(number, number.into())
        });
        let outcomes = [&[outcome], &FAILED[1..attempts as usize]].concat();
        let last = attempts.into();
        all.told_dead("A")
            .letter("A", "open", "budget_spent", &outcomes)
            .left_dead(last, "A")
    };
    found(Handler::Plain, Ended::Panicked, "panicked").holds();
    found(Handler::Plain, Ended::Gone, "dropped").holds();
    found(Handler::Timed, Ended::Gone, "timed_out").holds();
    for (how, outcome) in [
        (Ended::Failed, "panicked"),
        (Ended::Panicked, "failed"),
        (Ended::Gone, "failed"),
        (Ended::Failed, "dropped"),
        (Ended::Gone, "timed_out"),
        (Ended::Failed, "lease_lapsed"),
    ] {
        found(Handler::Plain, how, outcome).breaks(Rule::Letters, "and its body ended as");
    }
}

#[test]
fn with_attempts_whose_bodies_never_started() {
    let found = |outcome: &str| {
        let journal = journal(Handler::Plain)
            .fails(1, 1)
            .fails(2, 2)
            .killed()
            .fails(4, 4);
        let outcomes = ["failed", "failed", outcome, "failed"];
        journal
            .told_dead("A")
            .letter("A", "open", "budget_spent", &outcomes)
            .left_dead(4, "A")
    };
    found("crashed").holds();
    found("dropped").holds();
    found("failed").breaks(Rule::Letters, "its body never started");
}

#[test]
fn with_a_crash_that_was_none() {
    let found = |journal: Journal| {
        let all = journal.fails(2, 2).fails(3, 3).fails(4, 4).told_dead("A");
        let outcomes = ["crashed", "failed", "failed", "failed"];
        all.letter("A", "open", "budget_spent", &outcomes)
            .left_dead(4, "A")
    };
    found(journal(Handler::Plain).starts(1, 1).killed()).holds();
    found(
        journal(Handler::Plain)
            .starts(1, 1)
            .process_ends(ProcessEnd::Aborted),
    )
    .holds();
    let closed = journal(Handler::Plain)
        .fails(1, 1)
        .process_ends(ProcessEnd::Closed);
    found(closed).breaks(Rule::Letters, "its process lived on");
    found(journal(Handler::Plain).fails(1, 1)).breaks(Rule::Letters, "its process lived on");
}

#[test]
fn without_an_attempt_that_ran() {
    let ran = journal(Handler::Plain)
        .starts(1, 1)
        .ends(1, Ended::Permanent)
        .killed()
        .fails(2, 2);
    let wrong = ran
        .told_dead("A")
        .letter("A", "open", "permanent_error", &["permanent"])
        .left_dead(2, "A");
    wrong.breaks(Rule::Letters, "attempt 2 with token 2 is not in it");
}

#[test]
fn each_redrive_has_its_own_attempts() {
    let both = |second: &[&str]| {
        let twice = dead().redriven("A", 4).dies("B", [5, 6, 7, 8]);
        let found = twice.letter("A", "redriven", "budget_spent", &FAILED);
        found
            .letter("B", "open", "budget_spent", second)
            .left_dead(8, "B")
    };
    both(&FAILED).holds();
    both(&["failed", "failed", "panicked", "failed"])
        .breaks(Rule::Letters, "letter B: attempt 3 is `panicked`");
}

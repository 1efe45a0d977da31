//! What callers are told.

use super::*;

#[test]
fn a_result_and_its_replays_before_and_after_a_kill() {
    let journal = journal(Handler::Plain)
        .works(1, 10)
        .told_ok(10)
        .told_ok(10)
        .killed()
        .told_ok(10)
        .left_done(10);
    assert_eq!(
        (journal.judge.counts.results, journal.judge.counts.replays),
        (3, 2)
    );
    journal.holds();
}

#[test]
fn an_unrecorded_result_is_made_again() {
    journal(Handler::Plain)
        .works(1, 10)
        .killed()
        .works(2, 11)
        .told_ok(11)
        .left_done(11)
        .holds();
}

#[test]
fn two_results() {
    let wrong = journal(Handler::Plain)
        .works(1, 10)
        .killed()
        .works(2, 11)
        .told_ok(11)
        .told_ok(10)
        .left_done(11);
    wrong.breaks(Rule::Doubled, "two results");
}

#[test]
fn another_result_than_the_body_returned() {
    let wrong = journal(Handler::Plain)
        .works(1, 10)
        .told(Answer::Ok {
            token: 10,
            digest: 1,
        })
        .left_done(10);
    wrong.breaks(Rule::Doubled, "another result than token 10 returned");
}

#[test]
fn a_result_without_a_body() {
    let wrong = journal(Handler::Plain)
        .starts(1, 10)
        .killed()
        .told_ok(10)
        .left_done(10);
    wrong.breaks(Rule::Doubled, "which had none");
    journal(Handler::Plain)
        .told_ok(10)
        .left_done(10)
        .breaks(Rule::Doubled, "which never ran");
}

#[test]
fn what_existing_finds_needs_no_body_that_returned() {
    let found = |handler| {
        let effect = Event::Effect { n: N, token: 10 };
        journal(handler)
            .starts(1, 10)
            .event(&effect)
            .killed()
            .told_ok(10)
            .left_done(11)
    };
    found(Handler::Existing).holds();
    assert_eq!(found(Handler::Plain).faults().len(), 2);
}

#[test]
fn a_result_after_the_bodys_own_error() {
    let wrong = journal(Handler::Redeliver)
        .works(1, 10)
        .told_ok(10)
        .told(Answer::Own { token: 10 })
        .left_done(10);
    assert_eq!(
        wrong.faults().len(),
        2,
        "it had no error, and there was a result"
    );
    let right = journal(Handler::Redeliver)
        .fails(1, 10)
        .told(Answer::Own { token: 10 });
    right.works(2, 11).told_ok(11).left_done(11).holds();
}

#[test]
fn an_error_of_a_body_that_returned_none() {
    let wrong = journal(Handler::Redeliver)
        .works(1, 10)
        .told(Answer::Own { token: 10 })
        .told_ok(10)
        .left_done(10);
    wrong.breaks(Rule::Doubled, "the error of token 10, which had none");
}

#[test]
fn an_error_told_for_good_without_a_letter() {
    let wrong = journal(Handler::Brief)
        .fails(1, 10)
        .fails(2, 11)
        .told(Answer::Own { token: 11 })
        .left(Record::Absent);
    wrong.breaks(Rule::Lost, "there is no letter");
}

#[test]
fn another_content_under_the_same_key() {
    let done = || journal(Handler::Plain).works(1, 10).told_ok(10);
    done().told_with(1, Answer::Reused).left_done(10).holds();
    done().told_with(1, Answer::Dropped).left_done(10).holds();
    let wrong = done()
        .told_with(1, Answer::InProgress)
        .left_done(10)
        .faults();
    assert_eq!(
        wrong.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(),
        [Rule::Doubled, Rule::Refused]
    );
    done()
        .told(Answer::Reused)
        .left_done(10)
        .breaks(Rule::Refused, "Reused");
}

#[test]
fn one_of_two_contents_wins() {
    let won = || {
        contended(Handler::Plain)
            .told(Answer::Reused)
            .starts_with(1, 1, 10)
            .ends(10, Ended::Ok(digest(10)))
    };
    let ok = Answer::Ok {
        token: 10,
        digest: digest(10),
    };
    won().told_with(1, ok.clone()).left_done(10).holds();
    won()
        .told(ok)
        .left_done(10)
        .breaks(Rule::Doubled, "the result of another content");
}

#[test]
fn after_a_redrive_existing_finds_the_effect_of_another_content() {
    let crashed = || {
        contended(Handler::Existing)
            .fails(1, 1)
            .fails(2, 2)
            .fails(3, 3)
            .fails(4, 4)
            .works(5, 5)
            .killed()
    };
    let ok = Answer::Ok {
        token: 5,
        digest: digest(5),
    };
    let outcomes = ["failed", "failed", "failed", "failed", "crashed"];
    crashed()
        .redriven("A", 5)
        .letter("A", "redriven", "budget_spent", &outcomes)
        .told_with(1, ok.clone())
        .left_done(6)
        .holds();
    crashed()
        .told_with(1, ok)
        .left_done(6)
        .breaks(Rule::Doubled, "the result of another content");
}

#[test]
fn unexpected_errors() {
    let done = |handler, answer| {
        journal(handler)
            .works(1, 10)
            .told_ok(10)
            .told(answer)
            .left_done(10)
    };
    let poisoned = Answer::Refused("the ledger is poisoned".into());
    done(Handler::Plain, poisoned).breaks(Rule::Refused, "the ledger is poisoned");
    for answer in [
        Answer::InProgress,
        Answer::NotYet { after: 1 },
        Answer::Panicked,
        Answer::TimedOut,
    ] {
        done(Handler::Plain, answer).breaks(Rule::Refused, "a caller was told");
    }
    done(Handler::Reject, Answer::InProgress).holds();
    for answer in [
        Answer::NotYet { after: 1 },
        Answer::Panicked,
        Answer::TimedOut,
    ] {
        done(Handler::Redeliver, answer).holds();
    }
    let wrong = journal(Handler::Plain)
        .works(1, 10)
        .told_ok(10)
        .left_done(10);
    wrong
        .event(&Event::Trouble {
            text: "a panic".into(),
        })
        .breaks(Rule::Refused, "a panic");
}

#[test]
fn a_result_and_a_letter() {
    let letter = |journal: Journal| {
        journal
            .letter("A", "open", "permanent_error", &["permanent"])
            .left_dead(10, "A")
    };
    let wrong = letter(
        journal(Handler::Plain)
            .works(1, 10)
            .told_ok(10)
            .told_dead("A"),
    )
    .faults();
    let texts = [
        "callers were told a result, and that it is dead letter A",
        "but it is dead",
    ];
    assert!(
        texts
            .iter()
            .all(|text| wrong.iter().any(|(_, said)| said.contains(text))),
        "{wrong:#?}"
    );
    let wrong = letter(
        journal(Handler::Plain)
            .works(1, 10)
            .told_dead("A")
            .told_ok(10),
    )
    .faults();
    assert!(
        wrong
            .iter()
            .any(|(_, said)| said.contains("a caller was told a result, and it is dead")),
        "{wrong:#?}"
    );
}

#[test]
fn a_short_memory_may_answer_anew() {
    let anew = || {
        journal(Handler::Brief)
            .works(1, 10)
            .told_ok(10)
            .works(1, 11)
            .told_ok(11)
    };
    anew().left(Record::Absent).holds();
    anew().told_ok(10).left_done(11).holds();
    let wrong = anew()
        .told(Answer::Ok {
            token: 11,
            digest: 1,
        })
        .left_done(11)
        .faults();
    assert!(
        wrong.iter().all(|(rule, _)| *rule == Rule::Doubled) && !wrong.is_empty(),
        "{wrong:#?}"
    );
}

#[test]
fn gone() {
    let told = || journal(Handler::Plain).works(1, 10).told_ok(10);
    told()
        .left(Record::Absent)
        .breaks(Rule::Lost, "it has no record");
    told()
        .left(Record::Live)
        .breaks(Rule::Lost, "its record is live");
    told().breaks(Rule::Lost, "its record was not asked for");
    told()
        .left_done(11)
        .breaks(Rule::Doubled, "that of token 11 is recorded");
    journal(Handler::Plain)
        .works(1, 10)
        .left_done(10)
        .breaks(Rule::Lost, "but no caller got it");
}

//! When bodies may start.

use super::*;

#[test]
fn after_a_result_was_told() {
    let wrong = journal(Handler::Plain)
        .works(1, 10)
        .told_ok(10)
        .killed()
        .starts(2, 11)
        .left_done(11)
        .faults();
    assert!(
        wrong[0]
            .1
            .contains("started after a caller got the result of token 10"),
        "{wrong:#?}"
    );
    assert!(
        wrong.iter().all(|(rule, _)| *rule == Rule::Doubled),
        "{wrong:#?}"
    );
}

#[test]
fn after_a_result_was_returned_in_the_same_process() {
    let wrong = journal(Handler::Plain)
        .works(1, 10)
        .works(2, 11)
        .told_ok(11)
        .left_done(11);
    wrong.breaks(
        Rule::Doubled,
        "in the process in which token 10 had returned its result",
    );
}

#[test]
fn after_a_result_was_recorded() {
    let wrong = journal(Handler::Existing)
        .works(1, 10)
        .killed()
        .told_ok(10)
        .starts(2, 12)
        .ends(12, Ended::Gone);
    assert!(
        wrong
            .left_done(11)
            .faults()
            .iter()
            .any(|(_, said)| said.contains("after token 11 was recorded as done"))
    );
}

#[test]
fn after_a_letter() {
    let dead = journal(Handler::Plain).dies("A", [1, 2, 3, 4]).letter(
        "A",
        "open",
        "budget_spent",
        &FAILED,
    );
    let wrong = dead
        .killed()
        .starts(1, 5)
        .ends(5, Ended::Gone)
        .left_dead(4, "A")
        .faults();
    let texts = [
        "though it is dead letter A",
        "got the error of token 4 as final",
        "was not counted",
        "after its letter was written",
    ];
    assert!(
        texts
            .iter()
            .all(|text| wrong.iter().any(|(_, said)| said.contains(text))),
        "{wrong:#?}"
    );
    // A watcher knows of it, too.
    let seen = Event::Seen {
        n: N,
        letter: "A".into(),
    };
    let wrong = journal(Handler::Brief).event(&seen).starts(1, 5).letter(
        "A",
        "open",
        "abandoned",
        &["failed"],
    );
    wrong
        .left_dead(5, "A")
        .breaks(Rule::Doubled, "though it is dead letter A");
}

#[test]
fn after_a_redrive_with_a_fresh_budget() {
    let redriven = || {
        journal(Handler::Plain)
            .dies("A", [1, 2, 3, 4])
            .redriven("A", 4)
    };
    let found = |journal: Journal| journal.letter("A", "redriven", "budget_spent", &FAILED);
    found(redriven().works(1, 5).told_ok(5))
        .left_done(5)
        .holds();
    // The process emitted it late.
    found(redriven().works(1, 5).told_ok(5).told_dead("A"))
        .left_done(5)
        .holds();
    // The operator's own process was killed before it could emit it.
    let unsaid = journal(Handler::Plain)
        .dies("A", [1, 2, 3, 4])
        .closing("A", 4, true)
        .killed();
    found(unsaid.works(2, 6).told_ok(6)).left_done(6).holds();
}

#[test]
fn more_often_than_the_budget_allows() {
    let four = || {
        journal(Handler::Plain)
            .fails(1, 1)
            .fails(2, 2)
            .fails(3, 3)
            .fails(4, 4)
    };
    four()
        .works(5, 5)
        .told_ok(5)
        .left_done(5)
        .breaks(Rule::Budget, "attempt 5 with token 5 of 4");
    let of = Event::Started(Attempt {
        n: N,
        variant: 0,
        number: 1,
        of: 3,
        token: 1,
    });
    let wrong = journal(Handler::Plain)
        .event(&of)
        .ends(1, Ended::Ok(digest(1)))
        .told_ok(1)
        .left_done(1);
    wrong.breaks(Rule::Budget, "of 3, and there are 4");
}

#[test]
fn without_counting_a_crash() {
    let wrong = journal(Handler::Plain)
        .starts(1, 10)
        .killed()
        .works(1, 11)
        .told_ok(11)
        .left_done(11);
    wrong.breaks(
        Rule::Budget,
        "attempt 1 with token 11 follows attempt 1 with token 10: it was not counted",
    );
}

#[test]
fn on_a_guess() {
    let again = |handler, how: Option<Ended>| {
        let ended = how
            .into_iter()
            .fold(journal(handler).starts(1, 10), |journal, how| {
                journal.ends(10, how)
            });
        ended.killed().works(2, 11).told_ok(11).left_done(11)
    };
    for how in [None, Some(Ended::Gone)] {
        again(Handler::Bury, how).breaks(Rule::Budget, "the outcome of token 10 is unknown");
        again(Handler::Plain, how).holds();
    }
    again(Handler::Bury, Some(Ended::Failed)).holds();
}

#[test]
fn after_a_permanent_error() {
    let permanent = || {
        journal(Handler::Plain)
            .starts(1, 10)
            .ends(10, Ended::Permanent)
    };
    let wrong = permanent().works(2, 11).told_ok(11).left_done(11);
    wrong.breaks(Rule::Budget, "after the permanent error of token 10");
    // The kill came before it was recorded.
    permanent()
        .killed()
        .works(2, 11)
        .told_ok(11)
        .left_done(11)
        .holds();
}

#[test]
fn with_an_old_token() {
    for token in [9, 10] {
        let wrong = journal(Handler::Plain)
            .fails(1, 10)
            .works(2, token)
            .told_ok(token)
            .left_done(token)
            .faults();
        assert!(
            wrong
                .iter()
                .any(|(rule, said)| *rule == Rule::Fencing
                    && said.contains("started after token 10")),
            "{wrong:#?}"
        );
    }
}

#[test]
fn with_a_token_that_another_message_had_in_an_earlier_process() {
    let mut other = journal(Handler::Plain);
    other.judge.delivered(8, Handler::Plain, false);
    let started = Event::Started(Attempt {
        n: 8,
        variant: 0,
        number: 1,
        of: 4,
        token: 20,
    });
    let wrong = other.event(&started).event(&Event::Ended {
        n: 8,
        token: 20,
        how: Ended::Ok(digest(20)),
    });
    let told = Event::Told {
        call: 0,
        n: 8,
        variant: 0,
        answer: Answer::Ok {
            token: 20,
            digest: digest(20),
        },
    };
    let wrong = wrong.event(&told).event(&Event::Record {
        n: 8,
        record: Record::Done { token: 20 },
    });
    let wrong = wrong.killed().works(1, 20).told_ok(20).left_done(20);
    wrong.breaks(
        Rule::Fencing,
        "started after token 20 of an earlier process",
    );
}

#[test]
fn two_at_once() {
    let wrong = journal(Handler::Plain)
        .starts(1, 10)
        .works(2, 11)
        .ends(10, Ended::Gone)
        .told_ok(11)
        .left_done(11);
    wrong.breaks(Rule::Fencing, "while token 10 was running");
    journal(Handler::Plain)
        .starts(1, 10)
        .killed()
        .works(2, 11)
        .told_ok(11)
        .left_done(11)
        .holds();
}

#[test]
fn an_end_without_a_start() {
    let wrong = journal(Handler::Plain)
        .works(1, 10)
        .told_ok(10)
        .ends(11, Ended::Gone)
        .left_done(10);
    wrong.breaks(Rule::Fencing, "and was not running");
}

#[test]
fn with_another_content() {
    let wrong = contended(Handler::Plain)
        .fails(1, 10)
        .starts_with(1, 2, 11)
        .ends(11, Ended::Ok(digest(11)));
    let wrong = wrong
        .told_with(
            1,
            Answer::Ok {
                token: 11,
                digest: digest(11),
            },
        )
        .left_done(11);
    wrong.breaks(Rule::Doubled, "another content than token 10");
}

#[test]
fn work_that_existing_would_have_found() {
    let twice = |handler| {
        journal(handler)
            .works(1, 10)
            .killed()
            .works(2, 11)
            .told_ok(11)
            .left_done(11)
    };
    twice(Handler::Existing).breaks(Rule::Doubled, "it was done again");
    let plain = twice(Handler::Plain);
    assert_eq!(plain.judge.counts.effects_again, 1);
    plain.holds();
}

#[test]
fn of_a_message_that_was_not_delivered() {
    let mut wrong = journal(Handler::Plain)
        .works(1, 10)
        .told_ok(10)
        .left_done(10);
    let stranger = Event::Started(Attempt {
        n: 8,
        variant: 0,
        number: 1,
        of: 4,
        token: 11,
    });
    wrong.judge.take(1, &stranger);
    wrong.breaks(Rule::Letters, "it was not delivered");
}

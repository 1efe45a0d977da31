//! Several processes on one ledger, and the server under it.

use super::*;

fn shared(handler: Handler) -> Journal {
    journal_on(Ledger::Postgres, handler)
}

/// The second process takes over what the first one runs.
fn taken_over() -> Journal {
    shared(Handler::Plain)
        .starts(1, 10)
        .in_process(2)
        .works(2, 11)
        .told_ok(11)
}

fn row(journal: Journal, token: u64, digest: u64) -> Journal {
    journal.event(&Event::Row {
        n: N,
        token,
        digest,
    })
}

#[test]
fn a_claim_passes_on_when_its_process_has_lost_it() {
    let first = || taken_over().left_done(11).in_process(1);
    first().event(&Event::Lapsed).holds();
    first().killed().holds();
    let text = "started while token 10 was running";
    first().breaks(Rule::Fencing, text);
    first()
        .process_ends(ProcessEnd::Closed)
        .breaks(Rule::Fencing, text);
    let alive = (0..500).fold(first(), |journal, _| journal.event(&Event::Said));
    alive.killed().breaks(Rule::Fencing, text);
}

#[test]
fn a_body_may_start_late_in_a_process_that_has_lost_it() {
    let late = || {
        shared(Handler::Plain)
            .in_process(2)
            .works(2, 11)
            .told_ok(11)
            .left_done(11)
            .in_process(1)
            .starts(1, 10)
    };
    late().event(&Event::Lapsed).holds();
    late().killed().holds();
    late().breaks(Rule::Fencing, "started after token 11");
    let seen = Event::Seen {
        n: N,
        letter: "A".into(),
    };
    let dead = || {
        let ran = shared(Handler::Bury).in_process(2).event(&seen);
        let late = ran.in_process(1).starts(1, 10).left_dead(10, "A");
        late.letter("A", "open", "unknown_outcome", &["lease_lapsed"])
    };
    dead().event(&Event::Lapsed).holds();
    let wrong = dead().process_ends(ProcessEnd::Closed).faults();
    let texts = ["though it is dead letter A", "attempt 1 is `lease_lapsed`"];
    assert!(
        texts
            .iter()
            .all(|text| wrong.iter().any(|(_, said)| said.contains(text))),
        "{wrong:#?}"
    );
}

#[test]
fn an_old_token_in_the_same_process() {
    let wrong = shared(Handler::Plain).fails(2, 11).fails(1, 10);
    let wrong = wrong.works(3, 12).told_ok(12).left_done(12);
    wrong.breaks(Rule::Fencing, "token 10 started after token 11");
}

#[test]
fn a_result_that_was_not_recorded() {
    let again = |between: &[Event]| {
        let first = shared(Handler::Plain).works(1, 10);
        let between = between.iter().fold(first, Journal::event);
        between.works(2, 11).told_ok(11).left_done(11)
    };
    again(&[Event::ServerEnds]).holds();
    again(&[Event::ServerEnds, Event::ServerIsBack]).holds();
    again(&[Event::Lapsed]).holds();
    let text = "token 10 had returned its result";
    again(&[]).breaks(Rule::Doubled, text);
    let refused = || Event::NotCommitted {
        n: N,
        text: "the session was ended".into(),
    };
    again(&[refused()]).breaks(Rule::Doubled, text);
    let counted = shared(Handler::Counted).works(1, 10).event(&refused());
    let counted = counted.works(2, 11).told_ok(11).left_done(11);
    row(counted, 11, digest(11)).holds();
}

#[test]
fn a_commit_that_an_outage_took_is_not_charged() {
    let away = |handler| {
        let first = shared(handler).works(1, 10).event(&Event::ServerEnds);
        first.event(&Event::ServerIsBack)
    };
    let done = |handler| away(handler).works(1, 11).told_ok(11).left_done(11);
    row(done(Handler::Counted), 11, digest(11)).holds();
    done(Handler::Plain).breaks(Rule::Budget, "was not counted");
    let refused = Event::NotCommitted {
        n: N,
        text: "the session was ended".into(),
    };
    let without = shared(Handler::Counted).works(1, 10).event(&refused);
    let without = without.works(1, 11).told_ok(11).left_done(11);
    row(without, 11, digest(11)).breaks(Rule::Budget, "was not counted");

    let dead = |handler| {
        let failed = away(handler).fails(1, 11).fails(2, 12).fails(3, 13);
        let failed = failed.fails(4, 14).told(Answer::Own { token: 14 });
        let mut attempts = vec![(1, "outage".to_owned())];
        attempts.extend((1..=4).map(|number| (number, "failed".to_owned())));
        let letter = Letter {
            attempts,
            ..failed.letter_of("A", "open", "budget_spent", &[])
        };
        failed.left_dead(14, "A").event(&Event::Letter(letter))
    };
    dead(Handler::Counted).holds();
    let wrong = dead(Handler::Plain).faults();
    let texts = ["was not counted", "attempt 1 is `outage`"];
    let said = |text: &&str| wrong.iter().any(|(_, said)| said.contains(*text));
    assert!(texts.iter().all(said), "{wrong:#?}");
}

#[test]
fn what_a_caller_is_told_without_a_server_or_a_lease() {
    let told = |handler: Handler, answer| {
        let done = shared(handler).told(answer).works(1, 10).told_ok(10);
        let done = done.left_done(10);
        if handler.is_transactional() {
            row(done, 10, digest(10))
        } else {
            done
        }
    };
    told(Handler::Plain, Answer::Away("refused".into())).holds();
    told(Handler::Counted, Answer::NotCommitted).holds();
    told(Handler::Plain, Answer::NotCommitted).breaks(Rule::Refused, "NotCommitted");
    told(Handler::Plain, Answer::Lost).breaks(Rule::Refused, "Lost");
    let lapsed = shared(Handler::Plain).event(&Event::Lapsed);
    let lapsed = lapsed.told(Answer::Lost).works(1, 10).told_ok(10);
    lapsed.left_done(10).holds();
}

#[test]
fn a_row_for_a_result_and_none_without_one() {
    let done = || shared(Handler::Counted).works(1, 10).told_ok(10);
    row(done(), 10, digest(10)).left_done(10).holds();
    done()
        .left_done(10)
        .breaks(Rule::Lost, "its row is not there");
    row(done(), 10, 1)
        .left_done(10)
        .breaks(Rule::Doubled, "of another result");
    row(done(), 9, digest(9))
        .left_done(10)
        .breaks(Rule::Doubled, "of the tokens [9]");
    row(row(done(), 9, digest(9)), 10, digest(10))
        .left_done(10)
        .breaks(Rule::Doubled, "of the tokens [9, 10]");
    let dead = || shared(Handler::Counted).dies("A", [1, 2, 3, 4]);
    let dead = || dead().letter("A", "open", "budget_spent", &FAILED);
    dead().left_dead(4, "A").holds();
    row(dead(), 3, digest(3))
        .left_dead(4, "A")
        .breaks(Rule::Doubled, "of the tokens [3]");
}

#[test]
fn two_bodies_at_once_where_the_claim_comes_last() {
    let both = |handler| {
        let first = shared(handler).starts(1, 12).in_process(2).works(1, 11);
        let both = first.told_ok(11).in_process(1);
        row(
            both.ends(12, Ended::Ok(digest(12))).told_ok(11),
            11,
            digest(11),
        )
        .left_done(11)
    };
    both(Handler::Single).holds();
    both(Handler::Fresh).holds();
    let again = both(Handler::Single).starts(1, 13);
    again.breaks(Rule::Doubled, "in which a caller got the result");
}

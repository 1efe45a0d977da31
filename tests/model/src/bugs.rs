//! Bugs around the real function, one at a time: the check must find each of them. The wrappers
//! change the input or the output of `decide`, as a mistake in it would.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use idem_runtime::dead_letters::AttemptOutcome;
use idem_runtime::protocol::{
    Budget, Change, Decision, Facts, Failed, LetterChange, Live, Phase, Record, RecordId, Reply,
    Settled, Settlement, Step, decide,
};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

use crate::properties::*;
use crate::world::{LEASE, Protocol, Scene, TTL, ticks};
use crate::{BY_PROCESS_TWO_KEYS, SHARED, say};

/// Two messages with one key, and a deploy, so that every bug has its chance.
const SCENE: Scene = Scene {
    again: true,
    keys: &[&[1, 2]],
    unread: &[2],
    versions: &[(1, false), (0, false)],
    ..SHARED
};

const IN_AN_OUTAGE: Scene = Scene {
    failures: &[AttemptOutcome::Failed, AttemptOutcome::Outage],
    ..SHARED
};

macro_rules! bugs {
    ($($bug:ident $(in $scene:ident)? breaks $($law:ident)+;)+) => {
        mod finds {
            use super::*;
            $(#[test] fn $bug() {
                let scene = [$($scene,)? SCENE].into_iter().next().unwrap();
                let model = Protocol::new(super::$bug, scene);
                found(stringify!($bug), model, &[$($law),+]);
            })+
        }

        #[test]
        fn every_invariant_is_broken_by_some_bug() {
            let broken = [$($($law),+),+];
            let all = Protocol::new(decide, SCENE).properties();
            let never: Vec<_> = all
                .iter()
                .filter(|property| property.expectation == Expectation::Always && !broken.contains(&property.name))
                .map(|property| property.name)
                .collect();
            assert!(never.is_empty(), "nothing shows that these can fail: {never:?}");
        }
    };
}

bugs! {
    completing_without_the_token_check breaks FENCED ONE_CLAIM;
    a_crashed_attempt_that_is_not_counted breaks BUDGET WHOLE_LETTER;
    a_redrive_that_keeps_the_old_token_valid breaks FENCED;
    dead_without_a_letter breaks ONE_LETTER;
    a_replay_without_a_look_at_the_fingerprint breaks ONE_MESSAGE;
    a_late_completion_that_overwrites_the_result breaks FENCED STAYS ONE_ANSWER;
    a_claim_that_does_not_wait_for_the_lease breaks ONE_CLAIM;
    a_result_that_runs_again breaks ENDED KEPT;
    a_pause_that_is_not_kept breaks PAUSED;
    a_sweep_that_forgets_the_living breaks KEPT;
    a_sweep_that_leaves_the_abandoned breaks COMES_UP;
    a_letter_that_expires breaks ENDED;
    a_claim_that_waits_for_itself breaks NOT_HELD_UP;
    a_refused_report_that_is_answered_as_recorded breaks SENSE;
    a_burial_over_another_message breaks ONE_MESSAGE;
    a_redrive_that_can_be_undone_while_its_message_runs breaks WHOLE_LETTER ONE_CLAIM;
    a_claim_given_back_that_is_counted breaks WHOLE_LETTER;
    a_redrive_given_back_that_is_forgotten breaks KEPT;
    a_deploy_that_kills_what_waits breaks BUDGET;
    a_message_that_is_abandoned_in_its_pause breaks WHOLE_LETTER;
    a_claim_that_is_charged_twice_for_one_nonce breaks CHARGED;
    an_outage_that_is_charged in IN_AN_OUTAGE breaks WHOLE_LETTER;
    a_report_of_a_dead_process_that_is_taken in BY_PROCESS_TWO_KEYS breaks FENCED;
}

/// Looks until these are broken, and shows how.
pub(crate) fn found<M>(bug: &str, model: M, broken: &[&'static str])
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    // One thread looks at short lives first.
    let wanted = HasDiscoveries::AllOf(BTreeSet::from_iter(broken.iter().copied()));
    let checker = model
        .checker()
        .threads(1)
        .finish_when(wanted)
        .spawn_bfs()
        .join();
    for law in broken {
        let Some(path) = checker.discovery(law) else {
            panic!("`{bug}` was not found by \"{law}\"")
        };
        let model = checker.model();
        let Property {
            condition: holds, ..
        } = model.property(law);
        let unbroken = path
            .into_vec()
            .into_iter()
            .take_while(|(state, _)| holds(model, state));
        let steps: Vec<_> = unbroken.filter_map(|(_, action)| action).collect();
        say(&format!(
            "{bug} breaks \"{law}\" in {} steps:\n",
            steps.len()
        ));
        steps
            .iter()
            .for_each(|step| say(&format!("    {step:?}\n")));
    }
}

fn completing_without_the_token_check(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    match (&record, step) {
        (Some(Record::Live(Live { token, .. })), Step::Complete { result, .. }) => {
            let step = Step::Complete {
                token: *token,
                result: result.clone(),
                notes: Vec::new(),
            };
            decide(id, record, &step, facts)
        }
        _ => decide(id, record, step, facts),
    }
}

fn an_outage_that_is_charged(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    match step {
        Step::Fail(failed) if failed.outcome == AttemptOutcome::Outage => {
            let outcome = AttemptOutcome::Failed;
            let failed = Failed::new(failed.token, outcome, failed.pause);
            decide(id, record, &Step::Fail(failed), facts)
        }
        _ => decide(id, record, step, facts),
    }
}

fn a_crashed_attempt_that_is_not_counted(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let ran = matches!(
        &record,
        Some(Record::Live(Live {
            phase: Phase::Running { .. },
            ..
        }))
    );
    let mut decision = decide(id, record, step, facts);
    if let (true, Reply::Run(started), Change::Put(put)) =
        (ran, &mut decision.reply, &mut decision.record)
        && let Record::Live(Live {
            past,
            phase: Phase::Running { number, .. },
            ..
        }) = put
    {
        past.pop();
        *number -= 1;
        started.number -= 1;
    }
    decision
}

fn a_redrive_that_keeps_the_old_token_valid(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let was = record.clone();
    let mut decision = decide(id, record, step, facts);
    if let (
        Step::Redrive { .. },
        Reply::Recorded,
        Some(Record::Settled(Settled {
            token,
            fingerprint,
            ttl,
            ..
        })),
    ) = (step, &decision.reply, was)
    {
        let mut live = Live::new(id, [].into(), Budget::new(1, ttl), facts.now);
        (live.token, live.fingerprint) = (token, fingerprint);
        live.phase = Phase::Running {
            number: 0,
            since: facts.now,
            owner: "".into(),
            session: 0,
            until: facts.now,
            nonce: 0,
        };
        decision.record = Change::Put(Record::Live(live));
    }
    decision
}

fn dead_without_a_letter(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let mut decision = decide(id, record, step, facts);
    if matches!(decision.letter, LetterChange::Open(_)) {
        decision.letter = LetterChange::Keep;
    }
    decision
}

fn a_replay_without_a_look_at_the_fingerprint(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    match (&record, step) {
        (
            Some(Record::Settled(Settled {
                end: Settlement::Done(_),
                ..
            })),
            Step::Claim(claim),
        ) => {
            let mut claim = claim.clone();
            claim.fingerprint = None;
            decide(id, record, &Step::Claim(claim), facts)
        }
        _ => decide(id, record, step, facts),
    }
}

fn a_late_completion_that_overwrites_the_result(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    match (record, step) {
        (Some(Record::Settled(mut settled)), Step::Complete { result, .. })
            if matches!(settled.end, Settlement::Done(_)) =>
        {
            settled.end = Settlement::Done(result.clone());
            let record = Change::Put(Record::Settled(settled));
            Decision::new(record, LetterChange::Keep, Reply::Recorded)
        }
        (record, step) => decide(id, record, step, facts),
    }
}

fn a_claim_that_does_not_wait_for_the_lease(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let mut facts = facts.clone();
    if matches!(step, Step::Claim(_)) && matches!(record, Some(Record::Live(_))) {
        facts.now += ticks(LEASE);
    }
    decide(id, record, step, &facts)
}

fn a_result_that_runs_again(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let kept = record.filter(|record| match (record, step) {
        (Record::Settled(settled), Step::Claim(_)) => !matches!(settled.end, Settlement::Done(_)),
        _ => true,
    });
    decide(id, kept, step, facts)
}

fn a_pause_that_is_not_kept(
    id: &RecordId,
    mut record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    if let Some(Record::Live(Live {
        phase: Phase::Waiting { since, until },
        ..
    })) = &mut record
    {
        *until = *since;
    }
    decide(id, record, step, facts)
}

fn a_sweep_that_forgets_the_living(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    match (&record, step) {
        (Some(Record::Live(live)), Step::Sweep) if facts.now >= live.first_seen + ticks(TTL) => {
            Decision::new(Change::Remove, LetterChange::Keep, Reply::Recorded)
        }
        _ => decide(id, record, step, facts),
    }
}

fn a_sweep_that_leaves_the_abandoned(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let mut facts = facts.clone();
    if let (
        Some(Record::Live(Live {
            phase: Phase::Waiting { since, .. },
            ..
        })),
        Step::Sweep,
    ) = (&record, step)
    {
        facts.now = *since;
    }
    decide(id, record, step, &facts)
}

fn a_letter_that_expires(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let kept = record.filter(|record| match (record, step) {
        (Record::Settled(settled), Step::Claim(_)) => facts.now < settled.at + settled.ttl,
        _ => true,
    });
    decide(id, kept, step, facts)
}

fn a_claim_that_waits_for_itself(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    match (&record, step) {
        (
            Some(Record::Live(Live {
                phase: Phase::Running { owner, .. },
                ..
            })),
            Step::Claim(claim),
        ) if *owner == claim.owner => {
            let mut claim = claim.clone();
            claim.owner = "".into();
            decide(id, record, &Step::Claim(claim), facts)
        }
        _ => decide(id, record, step, facts),
    }
}

fn a_refused_report_that_is_answered_as_recorded(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let mut decision = decide(id, record, step, facts);
    if matches!(step, Step::Complete { .. }) && decision.reply == Reply::LeaseLost {
        decision.reply = Reply::Recorded;
    }
    decision
}

fn a_burial_over_another_message(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    decide(
        id,
        record.filter(|_| !matches!(step, Step::Bury(_))),
        step,
        facts,
    )
}

fn a_redrive_that_can_be_undone_while_its_message_runs(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let mut record = record;
    if let (Some(Record::Live(live)), Step::Restore { .. }) = (&mut record, step) {
        live.phase = Phase::Waiting {
            since: facts.now,
            until: facts.now,
        };
    }
    decide(id, record, step, facts)
}

fn a_claim_given_back_that_is_counted(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let Step::GiveBack { token } = *step else {
        return decide(id, record, step, facts);
    };
    let failed = Failed::new(token, AttemptOutcome::Dropped, Duration::ZERO);
    let mut decision = decide(id, record, &Step::Fail(failed), facts);
    if matches!(decision.reply, Reply::Waiting { .. }) {
        decision.reply = Reply::Recorded;
    }
    decision
}

fn a_redrive_given_back_that_is_forgotten(
    id: &RecordId,
    mut record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    if let (Some(Record::Live(live)), Step::GiveBack { .. }) = (&mut record, step) {
        live.redriven = None;
    }
    decide(id, record, step, facts)
}

fn a_deploy_that_kills_what_waits(
    id: &RecordId,
    mut record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    if let (Some(Record::Live(live)), Step::Claim(claim)) = (&mut record, step)
        && matches!(live.phase, Phase::Waiting { .. })
        && let Some(last) = live
            .past
            .pop_if(|last| last.number >= claim.budget.attempts())
    {
        live.budget = claim.budget;
        let (number, since, owner) = (last.number, last.start, claim.owner.clone());
        live.phase = Phase::Running {
            number,
            since,
            owner,
            session: facts.session,
            until: facts.now,
            nonce: 0,
        };
    }
    decide(id, record, step, facts)
}

fn a_message_that_is_abandoned_in_its_pause(
    id: &RecordId,
    mut record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    if let (
        Some(Record::Live(Live {
            phase: Phase::Waiting { since, until },
            ..
        })),
        Step::Sweep,
    ) = (&mut record, step)
    {
        *until = *since;
    }
    decide(id, record, step, facts)
}

fn a_claim_that_is_charged_twice_for_one_nonce(
    id: &RecordId,
    mut record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    if let Some(Record::Live(Live {
        phase: Phase::Running { nonce, .. },
        ..
    })) = &mut record
    {
        *nonce = 0;
    }
    decide(id, record, step, facts)
}

fn a_report_of_a_dead_process_that_is_taken(
    id: &RecordId,
    record: Option<Record>,
    step: &Step,
    facts: &Facts,
) -> Decision {
    let claims = matches!(step, Step::Claim(_) | Step::Sweep);
    let facts = facts.clone().dead_owner(facts.dead_owner && claims);
    decide(id, record, step, &facts)
}

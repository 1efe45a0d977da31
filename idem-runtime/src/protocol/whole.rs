//! The attempt that is recorded as a whole: a claim and its report, decided one after the other.

use super::decide::{claim, decide};
use super::decision::{Change, Decision, Facts, keep};
use super::record::{Phase, Record, RecordId};
use super::step::{Reply, Step, WholeAttempt};

/// Decides the claim of an attempt that ran without one, and then its report.
pub(super) fn whole(
    id: &RecordId,
    mut record: Option<Record>,
    attempt: &WholeAttempt,
    facts: &Facts,
) -> Decision {
    let WholeAttempt {
        claim: wanted,
        grant,
        seen,
        report,
    } = attempt;
    // It was recorded, and the answer was lost.
    if record.as_ref().map(Record::token) == Some(grant.token) {
        return decide(id, record, report, facts);
    }
    // The same, and another attempt has ended since.
    if let Some(Record::Live(live)) = &record
        && live.past.iter().any(|past| past.token == Some(grant.token))
    {
        return keep(Reply::LeaseLost);
    }
    let fails = match report {
        Step::Complete { .. } => false,
        Step::Fail(_) => true,
        _ => return keep(Reply::LeaseLost),
    };
    // Each failure counts, also one of two that ran at once.
    if fails
        && let Some(Record::Live(live)) = &mut record
        && let Phase::Waiting { until, .. } = &mut live.phase
    {
        *until = facts.now;
    }
    let facts_of_claim = Facts {
        token: grant.token,
        ..facts.clone()
    };
    let claimed = claim(id, record, wanted, &facts_of_claim);
    match (claimed.record, claimed.letter, claimed.reply) {
        (Change::Put(Record::Live(mut live)), _, Reply::Run(granted))
            if fails || granted.number == grant.number =>
        {
            live.first_seen = live.first_seen.min(seen.at);
            if let Phase::Running { since, .. } = &mut live.phase {
                *since = seen.at;
            }
            // The claim is this attempt's own, whatever became of the one before.
            let facts = Facts {
                dead_owner: false,
                ..facts.clone()
            };
            decide(id, Some(Record::Live(live)), report, &facts)
        }
        (Change::Keep, _, reply) => keep(reply),
        (record, letter, reply @ Reply::DeadLettered(_)) if fails => {
            Decision::new(record, letter, reply)
        }
        _ => keep(Reply::LeaseLost),
    }
}

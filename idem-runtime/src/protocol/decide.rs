//! The protocol: every step of a record, as one pure function.

use std::sync::Arc;

use super::action::{ActionKind, Actor};
use super::attempt::PastAttempt;
use super::death::{bury, bury_unread};
use super::decision::{Change, Decision, Facts, LetterChange, acted, keep, put};
use super::letter::{DeadLetterId, Reason};
use super::record::{
    Budget, Live, Phase, Record, RecordId, RedrivenFrom, Settled, Settlement, StoredResult,
};
use super::step::{Claim, Failed, Grant, RedrivePayload, Reply, Step};
use super::whole::whole;
use crate::clock::after;

/// Decides one step of the record of `id`. `record` is `None` if the key is absent.
pub fn decide(id: &RecordId, record: Option<Record>, step: &Step, facts: &Facts) -> Decision {
    match step {
        Step::Claim(wanted) => claim(id, record, wanted, facts),
        Step::Renew { token, lease } => match record {
            Some(Record::Live(mut live)) if live.holds(*token, facts) => {
                if let Phase::Running { until, .. } = &mut live.phase {
                    *until = after(facts.now, *lease);
                }
                put(Record::Live(live), Reply::Recorded)
            }
            _ => keep(Reply::LeaseLost),
        },
        Step::Complete { token, result, .. } => match record {
            Some(Record::Live(live)) if live.holds(*token, facts) => {
                let attempts = live.number();
                let settled = live.settle(facts.now, attempts, Settlement::Done(result.clone()));
                put(Record::Settled(settled), Reply::Recorded)
            }
            // The report was recorded, and its answer was lost.
            Some(Record::Settled(Settled {
                token: last,
                end: Settlement::Done(_),
                ..
            })) if last == *token => keep(Reply::Recorded),
            _ => keep(Reply::LeaseLost),
        },
        Step::Fail(failed) => fail(record, failed, facts),
        Step::Attempt(attempt) => whole(id, record, attempt, facts),
        Step::GiveBack { token } => match record {
            Some(Record::Live(live)) if live.holds(*token, facts) => give_back(live, facts),
            // It was given back, and the answer was lost.
            Some(Record::Live(live)) if live.token == *token => keep(Reply::Recorded),
            _ => keep(Reply::LeaseLost),
        },
        Step::Bury(buried) => bury_unread(id, record, buried, facts),
        Step::Redrive {
            letter,
            payload,
            by,
        } => match (record, payload) {
            (Some(Record::Settled(settled)), _) if settled.end == Settlement::Dead(*letter) => {
                let rearmed = payload
                    .as_ref()
                    .map(|payload| rearmed(id, &settled, *letter, payload, facts));
                let change = rearmed.map_or(Change::Remove, |live| Change::Put(Record::Live(live)));
                acted(change, *letter, ActionKind::Redriven, by, facts)
            }
            // It was redriven, and its message was published: no claim has to be waited for.
            (Some(Record::Live(live)), None) if live.was_dead_as(*letter) => Decision {
                record: Change::Remove,
                letter: LetterChange::Keep,
                reply: Reply::Recorded,
            },
            _ => keep(Reply::LetterNotOpen),
        },
        Step::Discard { letter, by } => match record {
            Some(Record::Settled(settled)) if settled.end == Settlement::Dead(*letter) => {
                let settled = Settled {
                    end: Settlement::Discarded(*letter),
                    at: facts.now,
                    ..settled
                };
                acted(
                    Change::Put(Record::Settled(settled)),
                    *letter,
                    ActionKind::Discarded,
                    by,
                    facts,
                )
            }
            _ => keep(Reply::LetterNotOpen),
        },
        Step::Restore { letter, by } => match record {
            Some(Record::Settled(settled))
                if settled.end == Settlement::Discarded(*letter) && !settled.expired(facts.now) =>
            {
                let settled = Settled {
                    end: Settlement::Dead(*letter),
                    at: facts.now,
                    ..settled
                };
                acted(
                    Change::Put(Record::Settled(settled)),
                    *letter,
                    ActionKind::Restored,
                    by,
                    facts,
                )
            }
            Some(Record::Live(live)) if live.was_dead_as(*letter) => {
                let settled = live.as_it_was(facts.now, *letter);
                acted(
                    Change::Put(Record::Settled(settled)),
                    *letter,
                    ActionKind::Restored,
                    by,
                    facts,
                )
            }
            _ => keep(Reply::LetterNotOpen),
        },
        Step::Edit {
            letter,
            payload,
            sealed,
            by,
        } => match record {
            Some(Record::Settled(settled)) if settled.end == Settlement::Dead(*letter) => {
                let kind = ActionKind::Edited(payload.clone());
                let mut edit = acted(Change::Keep, *letter, kind, by, facts);
                if let LetterChange::Action { act, .. } = &mut edit.letter {
                    act.sealed.clone_from(sealed);
                }
                edit
            }
            _ => keep(Reply::LetterNotOpen),
        },
        Step::Erase { letter, by } => erase(record, *letter, by, facts),
        Step::Issue { ttl } => match record {
            Some(Record::Live(_)) => keep(Reply::AlreadyIssued),
            Some(Record::Settled(settled)) if !settled.expired(facts.now) => {
                keep(Reply::AlreadyIssued)
            }
            _ => {
                let end = Settlement::Issued;
                let settled = Settled {
                    token: facts.token,
                    fingerprint: None,
                    at: facts.now,
                    ttl: *ttl,
                    attempts: 0,
                    end,
                };
                put(Record::Settled(settled), Reply::Recorded)
            }
        },
        Step::Sweep => sweep(record, facts),
    }
}

/// Decides a claim of `id`.
pub fn claim(id: &RecordId, record: Option<Record>, wanted: &Claim, facts: &Facts) -> Decision {
    let record = record.filter(|record| !record.expired(facts.now));
    if record
        .as_ref()
        .is_some_and(|record| record.is_of_another(wanted.fingerprint))
    {
        return keep(Reply::KeyReused);
    }
    let mut live = match record {
        None => Live::new(id, Arc::clone(&wanted.payload), wanted.budget, facts.now),
        Some(Record::Live(live)) => live,
        Some(Record::Settled(settled)) => {
            return keep(match settled.end {
                Settlement::Done(result) => Reply::Replay {
                    result,
                    at: settled.at,
                },
                Settlement::Dead(letter) => Reply::Dead {
                    letter,
                    discarded: false,
                },
                Settlement::Discarded(letter) => Reply::Dead {
                    letter,
                    discarded: true,
                },
                // A handler has the name that issued keys are recorded under.
                Settlement::Issued => Reply::KeyReused,
            });
        }
    };
    match live.phase {
        // A clock that stepped back must not make a pause longer than it was.
        Phase::Waiting { since, until } if since <= facts.now && facts.now < until => {
            return keep(Reply::NotYet { at: until });
        }
        // It waits because it had an attempt left when its last one was reported: a deploy that
        // lowered the budget since counts from the next attempt on.
        Phase::Waiting { .. } => {}
        // The claim was granted, and the answer was lost.
        Phase::Running {
            ref owner,
            number,
            ref mut until,
            nonce,
            ..
        } if nonce != 0 && nonce == wanted.nonce && owner == &wanted.owner => {
            *until = after(facts.now, wanted.lease);
            let grant = Grant {
                token: live.token,
                number,
                outages: live.outages(),
            };
            return put(Record::Live(live), Reply::Run(grant));
        }
        Phase::Running {
            ref owner, until, ..
        } => {
            if owner != &wanted.owner && !live.orphaned(facts) {
                return keep(Reply::Busy { until });
            }
            live.end_orphan(facts);
            if let Some(reason) = live.spent() {
                return bury(live, reason, facts);
            }
        }
    }
    let (number, outages) = (live.number().saturating_add(1), live.outages());
    live.token = facts.token;
    live.fingerprint = wanted.fingerprint;
    live.payload = Arc::clone(&wanted.payload);
    live.redacted.clone_from(&wanted.redacted);
    live.sealed.clone_from(&wanted.sealed);
    if wanted.origin.is_some() {
        live.origin.clone_from(&wanted.origin);
    }
    live.trace = wanted.trace.or(live.trace);
    live.budget = wanted.budget;
    live.phase = Phase::Running {
        number,
        since: facts.now,
        owner: Arc::clone(&wanted.owner),
        session: facts.session,
        until: after(facts.now, wanted.lease),
        nonce: wanted.nonce,
    };
    put(
        Record::Live(live),
        Reply::Run(Grant {
            token: facts.token,
            number,
            outages,
        }),
    )
}

fn fail(record: Option<Record>, failed: &Failed, facts: &Facts) -> Decision {
    let mut live = match record {
        Some(Record::Live(live)) if live.token == failed.token => live,
        // The report was recorded, and its answer was lost.
        Some(Record::Settled(Settled {
            token,
            end: Settlement::Dead(letter),
            ..
        })) if token == failed.token => {
            return keep(Reply::Dead {
                letter,
                discarded: false,
            });
        }
        _ => return keep(Reply::LeaseLost),
    };
    match live.phase {
        Phase::Waiting { until, .. } => return keep(Reply::Waiting { at: until }),
        Phase::Running { .. } if facts.dead_owner => return keep(Reply::LeaseLost),
        Phase::Running { number, since, .. } => live.ended(PastAttempt {
            number,
            start: since,
            end: Some(facts.now),
            outcome: failed.outcome,
            error: failed.error.clone(),
            token: Some(live.token),
            outages: None,
        }),
    }
    live.redriven = None;
    let until = after(facts.now, failed.pause);
    live.phase = Phase::Waiting {
        since: facts.now,
        until,
    };
    match live.spent() {
        Some(reason) => bury(live, reason, facts),
        None => put(Record::Live(live), Reply::Waiting { at: until }),
    }
}

/// Makes the record what it was before the claim. A new key becomes absent: its body did not run,
/// and its caller got no answer. A redriven message waits again.
fn give_back(mut live: Live, facts: &Facts) -> Decision {
    if live.past.is_empty() && live.redriven.is_none() {
        return Decision {
            record: Change::Remove,
            letter: LetterChange::Keep,
            reply: Reply::Recorded,
        };
    }
    if live.redriven.is_some() {
        live.fingerprint = None;
    }
    live.phase = Phase::Waiting {
        since: facts.now,
        until: facts.now,
    };
    put(Record::Live(live), Reply::Recorded)
}

fn sweep(record: Option<Record>, facts: &Facts) -> Decision {
    let mut live = match record {
        Some(Record::Settled(settled)) if settled.expired(facts.now) => {
            return Decision {
                record: Change::Remove,
                letter: LetterChange::Keep,
                reply: Reply::Recorded,
            };
        }
        Some(Record::Live(live)) => live,
        _ => return keep(Reply::Unchanged),
    };
    let (Phase::Waiting { until, .. } | Phase::Running { until, .. }) = live.phase;
    if live.orphaned(facts) {
        live.end_orphan(facts);
        if let Some(reason) = live.spent() {
            return bury(live, reason, facts);
        }
        if !facts.leases {
            // Its owner is dead, it is not known since when: the time to live begins now.
            return put(Record::Live(live), Reply::Waiting { at: facts.now });
        }
        // If only a lease lapsed, the claim stays, so that a late report can be recorded.
    } else if matches!(live.phase, Phase::Running { .. }) {
        return keep(Reply::Unchanged);
    }
    if facts.now >= after(until, live.patience()) {
        bury(live, Reason::Abandoned, facts)
    } else {
        keep(Reply::Unchanged)
    }
}

/// Erases a result, or a letter's content. A message that runs or waits is left alone.
fn erase(
    record: Option<Record>,
    letter: Option<DeadLetterId>,
    by: &Actor,
    facts: &Facts,
) -> Decision {
    let settled = match record {
        Some(Record::Live(_)) => return keep(Reply::LetterNotOpen),
        Some(Record::Settled(settled)) => Some(settled),
        None => None,
    };
    match (settled, letter) {
        (Some(settled), None) if matches!(settled.end, Settlement::Done(_)) => {
            let end = Settlement::Done(StoredResult::Erased);
            put(Record::Settled(Settled { end, ..settled }), Reply::Recorded)
        }
        (_, None) => keep(Reply::Unchanged),
        (settled, Some(letter)) => {
            let change = match settled {
                Some(settled) if settled.end == Settlement::Dead(letter) => {
                    let (end, at) = (Settlement::Discarded(letter), facts.now);
                    Change::Put(Record::Settled(Settled { end, at, ..settled }))
                }
                Some(_) => Change::Keep,
                // A ledger of several machines writes a letter with the row of its record.
                None => Change::Remove,
            };
            acted(change, letter, ActionKind::Erased, by, facts)
        }
    }
}

/// Returns the live record of a redriven message. It waits as after a failed attempt, so that a
/// letter is written if no claim follows.
fn rearmed(
    id: &RecordId,
    dead: &Settled,
    letter: DeadLetterId,
    payload: &RedrivePayload,
    facts: &Facts,
) -> Live {
    let RedrivePayload {
        payload,
        redacted,
        sealed,
        origin,
        cause,
        arguments,
        trace,
    } = payload;
    Live {
        // The token of the attempt before is no longer valid.
        token: facts.token,
        redacted: (!redacted.is_empty()).then(|| redacted.as_slice().into()),
        sealed: sealed.clone(),
        origin: origin.clone(),
        trace: *trace,
        redriven: Some(Box::new(RedrivenFrom {
            letter,
            fingerprint: dead.fingerprint,
            attempts: dead.attempts,
            cause: cause.clone(),
            arguments: *arguments,
        })),
        // Corrected content is welcome, so there is no fingerprint; the next claim brings its own
        // budget.
        ..Live::new(id, Arc::clone(payload), Budget::new(0, dead.ttl), facts.now)
    }
}

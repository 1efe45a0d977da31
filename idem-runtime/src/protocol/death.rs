//! Death of a message: its record and its letter are one write.

use std::sync::Arc;

use super::decision::{Change, Decision, Facts, LetterChange, keep};
use super::letter::{DeadLetter, LetterState, Reason};
use super::record::{Live, Record, RecordId, RedrivenFrom, Settled, Settlement};
use super::step::{Bury, Reply};
use crate::json::Json;

/// Buries a live message.
pub(super) fn bury(live: Live, reason: Reason, facts: &Facts) -> Decision {
    let arguments = live.redriven.as_ref().and_then(|before| before.arguments);
    let mut settled = live.settle(facts.now, live.number(), Settlement::Dead(facts.letter));
    let mut letter = DeadLetter {
        id: facts.letter,
        payload: Json::stored(&live.payload),
        handler: live.handler.to_string(),
        key: live.key.to_string(),
        reason,
        attempts: live.past,
        state: LetterState::Open,
        first_seen: live.first_seen,
        died_at: facts.now,
        closed_at: None,
        closed_why: None,
        instance: facts.instance.to_string(),
        redacted: live
            .redacted
            .map(|paths| paths.to_vec())
            .unwrap_or_default(),
        history: Vec::new(),
        origin: live.origin.map(Arc::unwrap_or_clone),
        error: None,
        cut_from: None,
        arguments,
        record_key: None,
        reused: None,
        sealed: live.sealed.map(Arc::unwrap_or_clone),
        trace: live.trace,
    };
    // A buried message that was redriven without a claim is buried again with its old cause.
    if let Some(RedrivenFrom {
        fingerprint,
        cause: Some(cause),
        ..
    }) = live.redriven.map(|before| *before)
    {
        settled.fingerprint = fingerprint;
        cause.write_to(&mut letter);
    }
    died(settled, letter)
}

/// Buries a message without an attempt, unless its key belongs to another message.
pub(super) fn bury_unread(
    id: &RecordId,
    record: Option<Record>,
    buried: &Bury,
    facts: &Facts,
) -> Decision {
    match record {
        None => {}
        Some(Record::Settled(settled)) if settled.expired(facts.now) => {}
        // It was buried before and redriven; now it is delivered again, and buried again.
        Some(Record::Live(live)) if live.is_rearmed() => {}
        Some(Record::Settled(Settled {
            fingerprint, end, ..
        })) if fingerprint == Some(buried.fingerprint) => {
            return keep(match end {
                Settlement::Done(_) | Settlement::Issued => Reply::KeyReused,
                Settlement::Dead(letter) => Reply::Dead {
                    letter,
                    discarded: false,
                },
                Settlement::Discarded(letter) => Reply::Dead {
                    letter,
                    discarded: true,
                },
            });
        }
        Some(_) => return keep(Reply::KeyReused),
    }
    let settled = Settled {
        // It is larger than the token of the record that it replaces.
        token: facts.token,
        fingerprint: Some(buried.fingerprint),
        at: facts.now,
        ttl: buried.ttl,
        attempts: 0,
        end: Settlement::Dead(facts.letter),
    };
    let mut letter = DeadLetter {
        id: facts.letter,
        payload: buried.payload.clone(),
        handler: id.handler.to_string(),
        key: id.key.to_string(),
        reason: Reason::Undecodable,
        attempts: Vec::new(),
        state: LetterState::Open,
        first_seen: facts.now,
        died_at: facts.now,
        closed_at: None,
        closed_why: None,
        instance: facts.instance.to_string(),
        redacted: buried.redacted.clone(),
        history: Vec::new(),
        origin: Some(buried.origin.clone()),
        error: None,
        cut_from: None,
        arguments: None,
        record_key: None,
        reused: None,
        sealed: buried.sealed.clone(),
        trace: buried.origin.trace().map(|trace| trace.parent()),
    };
    buried.cause.clone().write_to(&mut letter);
    died(settled, letter)
}

fn died(settled: Settled, letter: DeadLetter) -> Decision {
    Decision {
        record: Change::Put(Record::Settled(settled)),
        letter: LetterChange::Open(Box::new(letter.clone())),
        reply: Reply::DeadLettered(Box::new(letter)),
    }
}

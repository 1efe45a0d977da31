//! The timeline of a key, built from its record and its letters.

use idem_runtime::protocol::{Phase, Record, RecordId, Settled, Settlement, StoredResult};
use idem_runtime::{
    DeadLetter,
    clock::Timestamp,
    dead_letters::{Action, ActionKind, Actor, AttemptOutcome, PastAttempt},
    issuer::IssuedKey,
};

use super::Service;
use super::error::ServiceError;
use super::letters::{LONGEST_PAGE, LetterQuery, StateFilter};
use super::timeline::{Event, EventKind, KeyState, Timeline};

/// The largest result that is shown, in bytes.
const LARGEST_SHOWN: usize = 64 << 10;

impl Service {
    /// Returns what happened to one key: its record, its letters, and every attempt and action in
    /// the order of time.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn explain(&self, handler: &str, key: &str) -> Result<Timeline, ServiceError> {
        self.inner.refresh().await?;
        let id = RecordId::new(handler, key);
        let record = self.inner.idem.record(&id).await?;
        let query = LetterQuery {
            handler: Some(handler.to_owned()),
            key: Some(key.to_owned()),
            state: StateFilter::Any,
            ..LetterQuery::default()
        };
        let earlier = self.inner.earlier_names(&query);
        let found = self.inner.index.find(&query, &earlier, None, LONGEST_PAGE);
        let (mut letters, mut events) = (Vec::new(), Vec::new());
        let mut ids = found.ids;
        // The record's letter may be older than the index.
        if let Some(Record::Settled(Settled {
            end: Settlement::Dead(id) | Settlement::Discarded(id),
            ..
        })) = &record
            && !ids.contains(id)
        {
            ids.push(*id);
        }
        for id in ids {
            // Two keys may have one hash.
            if let Some(letter) = self.inner.idem.dead_letters().get(&id).await?
                && letter.key == key
                && query.is_of(&letter.handler, &earlier)
            {
                of_letter(&letter, &mut events);
                letters.push(self.inner.line(&letter));
            }
        }
        let now = self.inner.idem.clock().now();
        let state = record.map_or(KeyState::Absent, |record| {
            of_record(&record, now, &mut events)
        });
        for IssuedKey {
            issuer, at, until, ..
        } in self.inner.idem.issued(key).await?
        {
            events.push(Event {
                at,
                letter: None,
                what: EventKind::Issued { issuer, until },
            });
        }
        // A stable sort: events of the same time keep their order.
        events.sort_by_key(|event| event.at);
        let at_least = found.reach.floor().is_some();
        Ok(Timeline {
            handler: handler.to_owned(),
            key: key.to_owned(),
            now: state,
            letters,
            at_least,
            events,
        })
    }
}

fn of_letter(letter: &DeadLetter, events: &mut Vec<Event>) {
    let mut push = |at, what| {
        events.push(Event {
            at,
            letter: Some(letter.id),
            what,
        });
    };
    if letter.record_key.is_some() {
        let (reason, error) = (letter.reason, letter.error.clone());
        push(letter.died_at, EventKind::Refused { reason, error });
    } else {
        push(letter.first_seen, EventKind::Came);
        for attempt in &letter.attempts {
            of_attempt(attempt, &mut push);
        }
        push(
            letter.died_at,
            EventKind::Died {
                reason: letter.reason,
            },
        );
    }
    for Action {
        at,
        by: Actor { who, why },
        kind,
        ..
    } in &letter.history
    {
        let (who, why) = (who.clone(), why.clone());
        let what = match kind {
            ActionKind::Redriven => EventKind::Redriven { who, why },
            ActionKind::Discarded => EventKind::Discarded { who, why },
            ActionKind::Restored => EventKind::Restored { who, why },
            ActionKind::Edited(_) => EventKind::Edited { who, why },
            ActionKind::Erased => EventKind::Erased { who, why },
            _ => continue,
        };
        push(*at, what);
    }
}

fn of_attempt(attempt: &PastAttempt, push: &mut impl FnMut(Timestamp, EventKind)) {
    push(
        attempt.start,
        EventKind::Started {
            attempt: attempt.number,
        },
    );
    push(
        attempt.end.unwrap_or(attempt.start),
        EventKind::Ended {
            attempt: attempt.number,
            outcome: attempt.outcome,
            error: attempt.error.clone(),
            reported: attempt.end.is_some(),
        },
    );
}

fn of_record(record: &Record, now: Timestamp, events: &mut Vec<Event>) -> KeyState {
    let mut push = |at, what| {
        events.push(Event {
            at,
            letter: None,
            what,
        });
    };
    let settled = match record {
        Record::Settled(settled) => settled,
        Record::Live(live) => {
            push(live.first_seen, EventKind::Came);
            for attempt in &live.past {
                of_attempt(attempt, &mut push);
            }
            // A record from before a deploy that lowered the budget has one attempt more.
            let of = |number: u32| live.budget.attempts().max(number);
            return match &live.phase {
                Phase::Running {
                    number,
                    since,
                    owner,
                    ..
                } => {
                    push(*since, EventKind::Started { attempt: *number });
                    KeyState::Running {
                        attempt: *number,
                        of: of(*number),
                        since: *since,
                        owner: owner.to_string(),
                    }
                }
                Phase::Waiting { until, .. } => {
                    let charged = live.past.iter();
                    let charged = charged.filter(|past| past.outcome != AttemptOutcome::Outage);
                    let attempts = u32::try_from(charged.count()).unwrap_or(u32::MAX);
                    KeyState::Waiting {
                        attempts,
                        of: of(attempts.saturating_add(1)),
                        until: *until,
                    }
                }
            };
        }
    };
    if settled.expired(now) {
        return KeyState::Absent;
    }
    let forgotten_at = forgotten(settled);
    match &settled.end {
        Settlement::Dead(letter) => KeyState::Dead {
            at: settled.at,
            letter: *letter,
        },
        Settlement::Discarded(letter) => KeyState::Discarded {
            at: settled.at,
            letter: *letter,
            forgotten_at,
        },
        Settlement::Done(result) => {
            push(
                settled.at,
                EventKind::Done {
                    attempts: settled.attempts,
                },
            );
            let (result, result_bytes) = match result {
                StoredResult::Json { json, .. } => {
                    let shown = (json.len() <= LARGEST_SHOWN)
                        .then(|| serde_json::from_slice(json).ok())
                        .flatten();
                    (shown, json.len() as u64)
                }
                StoredResult::TooLarge(bytes) => (None, *bytes),
                _ => (None, 0),
            };
            KeyState::Done {
                at: settled.at,
                attempts: settled.attempts,
                forgotten_at,
                result,
                result_bytes,
            }
        }
        // The key was issued, and no call has used it.
        _ => KeyState::Absent,
    }
}

fn forgotten(settled: &Settled) -> Timestamp {
    settled
        .at
        .checked_add(settled.ttl)
        .unwrap_or(Timestamp::MAX)
}

//! What must be true of every state of processes with the shared core, and which must be reached.

use idem_runtime::protocol::{Live, Phase, Record, Settled, Settlement};
use stateright::Property;

use super::jobs::{Ask, Batch, Outcome, Write};
use super::world::{Core, Hand, Key, Mode, Scene, State};
use crate::history::{End, Law, Told};
use crate::properties::{
    BUDGET, CHARGED, ENDED, FENCED, KEPT, ONE_ANSWER, ONE_CLAIM, PAUSED, SENSE, STAYS, WHOLE_LETTER,
};
use crate::world::{Ending, start_of};

pub(crate) const KNOWN: &str = "a running claim of a living process is known to it";
pub(crate) const ONE_ROW: &str = "business data is there exactly if its message is done, and once";
pub(crate) const TOGETHER: &str = "a result and its business data are recorded together";

/// Those that the bugs of the protocol break.
pub(crate) const OF_THE_PROTOCOL: &[&str] =
    &[BUDGET, ENDED, KEPT, ONE_ANSWER, PAUSED, STAYS, WHOLE_LETTER];

pub(crate) fn of(scene: &Scene) -> Vec<Property<Core>> {
    let mut all = vec![
        Property::always(ONE_CLAIM, one_claim),
        Property::always(FENCED, |_, state| holds(state, Law::Fenced)),
        Property::always(ENDED, |_, state| holds(state, Law::Ended)),
        Property::always(BUDGET, |_, state| holds(state, Law::Budget)),
        Property::always(PAUSED, |_, state| holds(state, Law::Pause)),
        Property::always(WHOLE_LETTER, |_, state| holds(state, Law::Letters)),
        Property::always(STAYS, |_, state: &State| state.keys.iter().all(stays)),
        Property::always(ONE_ANSWER, |_, state| holds(state, Law::OneAnswer)),
        Property::always(KEPT, |_, state: &State| state.keys.iter().all(kept)),
        Property::always(CHARGED, |_, state| holds(state, Law::Charged)),
        Property::always(SENSE, |_, state| holds(state, Law::Sense)),
        Property::always(KNOWN, known),
        Property::always(TOGETHER, |model: &Core, state: &State| {
            let transactions = model.scene.mode.has_transactions();
            let together = |key: &Key| key.recorded == key.business;
            !transactions || state.keys.iter().all(together)
        }),
        Property::always(ONE_ROW, |model: &Core, state: &State| {
            let transactions = model.scene.mode.has_transactions();
            !transactions || state.keys.iter().all(one_row)
        }),
    ];
    if scene.endings.contains(&Ending::Done) {
        all.push(Property::sometimes("done", |_, state: &State| {
            state.keys.iter().any(|key| !key.recorded.is_empty())
        }));
    }
    let left = scene.left;
    if left.lost > 0 {
        all.push(Property::sometimes(
            "a late write finds its row changed",
            |_, state: &State| {
                let mut writes = state.late.iter().flat_map(|batch| &batch.writes);
                writes.any(|write| version(state, write.key) != write.expected)
            },
        ));
        all.push(Property::sometimes(
            "a write whose answer was lost is found by its version",
            |_, state: &State| {
                let of = |process: &super::world::Process| process.locals.clone();
                state
                    .processes
                    .iter()
                    .flat_map(of)
                    .enumerate()
                    .any(|(place, at)| {
                        let key = place % state.keys.len();
                        at.job.is_some_and(|job| {
                            let mut tried = job.tried.iter();
                            tried.any(|tried| Some(tried.version) == version(state, key))
                        })
                    })
            },
        ));
    }
    if left.ticks > 0 && left.beats > 0 {
        all.push(Property::sometimes(
            "a process that was marked dead has a body that runs on",
            |_, state: &State| {
                state.processes.iter().any(|process| {
                    let mut hands = process.locals.iter().map(|at| at.hand);
                    state.runners[process.runner].dead
                        && hands.any(|hand| matches!(hand, Hand::Body { .. }))
                })
            },
        ));
    }
    if scene.keys > 1 {
        all.push(Property::sometimes(
            "of a batch, one write takes place and one loses its race",
            |_, state: &State| {
                state.processes.iter().any(|process| {
                    process.batches.iter().any(|batch| {
                        matches!(&batch.outcome, Some(Outcome::Took(took)) if took.len() == 1)
                            && batch.writes.len() == 2
                    })
                })
            },
        ));
    }
    if scene.rounds > 1 && left.ticks > 0 {
        all.push(Property::sometimes(
            "a round of an earlier life is under way beside one of today's",
            |_, state: &State| {
                state.processes.iter().any(|process| {
                    let of = |today| {
                        let mut batches = process.batches.iter();
                        batches.any(|batch| (batch.runner == process.runner) == today)
                    };
                    of(false) && of(true)
                })
            },
        ));
    }
    if matches!(scene.mode, Mode::Single | Mode::Fresh) {
        all.push(Property::sometimes(
            "a body runs whose message is done by another process",
            |_, state: &State| {
                any_hand(state, |key, hand| {
                    matches!(hand, Hand::Body { .. }) && state.keys[key].history.end.is_some()
                })
            },
        ));
    }
    if scene.mode == Mode::Fresh && scene.keys > 1 {
        all.push(Property::sometimes(
            "a body that claims with its end runs in a process that was marked dead",
            |_, state: &State| {
                state.processes.iter().any(|process| {
                    let mut locals = process.locals.iter();
                    state.runners[process.runner].dead
                        && locals
                            .any(|at| at.alone.is_some() && matches!(at.hand, Hand::Body { .. }))
                })
            },
        ));
    }
    if scene.mode.has_transactions() && left.lost > 0 {
        all.push(Property::sometimes(
            "a commit whose answer was lost is found",
            |_, state| {
                any_hand(state, |key, hand| match (hand, state.record(key)) {
                    (Hand::Unsure { token }, Some(Record::Settled(settled))) => {
                        settled.token == *token
                    }
                    _ => false,
                })
            },
        ));
        all.push(Property::sometimes(
            "a commit whose answer was lost may still land",
            |_, state: &State| {
                let mut commits = state.late.iter().filter(|batch| batch.commits);
                let lands = |batch: &Batch| {
                    let Write { key, expected, .. } = batch.writes[0];
                    version(state, key) == expected
                };
                commits.any(lands) && any_hand(state, |_, hand| matches!(hand, Hand::Unsure { .. }))
            },
        ));
    }
    all
}

fn holds(state: &State, law: Law) -> bool {
    let mut keys = state.keys.iter();
    keys.all(|key| !key.history.broken.contains(&law))
}

fn version(state: &State, key: usize) -> Option<u64> {
    state.keys[key].row.as_ref().map(|row| row.version)
}

fn any_hand(state: &State, is: impl Fn(usize, &Hand) -> bool) -> bool {
    state.processes.iter().any(|process| {
        let mut locals = process.locals.iter().enumerate();
        locals.any(|(key, at)| is(key, &at.hand))
    })
}

/// A body that believes in its claim is alone in that, and the store believes the same.
fn one_claim(model: &Core, state: &State) -> bool {
    (0..state.keys.len()).all(|key| {
        let processes = state.processes.iter().enumerate();
        let mut believers = processes.filter_map(|(process, of)| match of.locals[key].hand {
            Hand::Body { token, until } if model.believes(state, process, until) => Some(token),
            _ => None,
        });
        let Some(believer) = believers.next() else {
            return true;
        };
        let held = match state.record(key) {
            Some(Record::Live(Live { token, phase, .. })) => {
                matches!(phase, Phase::Running { .. }) && *token == believer
            }
            _ => false,
        };
        held && believers.next().is_none()
    })
}

fn stays(key: &Key) -> bool {
    match (key.history.told, end(key)) {
        (None, _) => true,
        (Some(Told::Result(told)), Some(Settlement::Done(result))) => told == start_of(result),
        (Some(Told::Dead(told)), Some(Settlement::Dead(letter))) => told == *letter,
        _ => false,
    }
}

fn kept(key: &Key) -> bool {
    let record = key.row.as_ref().and_then(|row| row.record.as_ref());
    match key.history.end {
        None => key.history.message.is_none() || matches!(record, Some(Record::Live(_))),
        Some(End::Done { result, .. }) => {
            matches!(end(key), Some(Settlement::Done(kept)) if start_of(kept) == result)
        }
        Some(End::Dead { letter }) => end(key) == Some(&Settlement::Dead(letter)),
        Some(End::Discarded { .. }) => false,
    }
}

/// What was done and is forgotten may be done again.
fn one_row(key: &Key) -> bool {
    let done = match key.history.end {
        Some(End::Done { result, .. }) => vec![result],
        _ => Vec::new(),
    };
    key.business[key.forgotten..] == done
}

fn end(key: &Key) -> Option<&Settlement> {
    match key.row.as_ref()?.record.as_ref()? {
        Record::Settled(Settled { end, .. }) => Some(end),
        Record::Live(_) => None,
    }
}

/// No claim stays behind that no call has in hand: it would count as an attempt.
fn known(_: &Core, state: &State) -> bool {
    (0..state.keys.len()).all(|key| {
        let Some(Record::Live(Live {
            token,
            phase: Phase::Running { nonce, .. },
            ..
        })) = state.record(key)
        else {
            return true;
        };
        let Some(owner) = state.owner(state.record(key)) else {
            return true;
        };
        let process = &state.processes[state.runners[owner].process];
        if state.runners[owner].dead || process.runner != owner {
            return true;
        }
        let at = &process.locals[key];
        let in_hand = match at.hand {
            Hand::Body { token: of, .. }
            | Hand::Committing { token: of, .. }
            | Hand::Unsure { token: of }
            | Hand::Owing { token: of, .. } => of == *token,
            Hand::Asked { nonce: of } => of == *nonce,
            Hand::Empty => false,
        };
        let asked = at.job.as_ref().is_some_and(|job| match job.ask {
            Ask::Claim { nonce: of, .. } => of == *nonce,
            Ask::Report { token: of, .. } => of == *token,
            Ask::Attempt { .. } | Ask::Sweep => false,
        });
        in_hand || asked
    })
}

//! What must be true of every state, and which states must be reached.

use idem_runtime::dead_letters::Reason;
use idem_runtime::ledger::Leases;
use idem_runtime::protocol::{
    Change, LetterState, Live, Phase, Record, Reply, Settled, Settlement, Step,
};
use stateright::Property;

use crate::history::{Attempt, End, Law, Told};
use crate::world::{
    Asked, Ending, Hand, Key, LEASE, Limits, Protocol, Scene, State, TTL, owner, report, start_of,
};

pub(crate) const ONE_CLAIM: &str = "I1: at most one live claim per key";
pub(crate) const FENCED: &str = "I1: the last claim's report is taken, and no other";
pub(crate) const ENDED: &str = "I2: nothing runs after its end";
pub(crate) const BUDGET: &str = "I3: no more starts than the budget allows";
pub(crate) const PAUSED: &str = "no start before the pause has passed";
pub(crate) const ONE_LETTER: &str = "I4: dead means one open letter";
pub(crate) const WHOLE_LETTER: &str = "I4: a letter has its reason, its payload and every start";
pub(crate) const STAYS: &str = "I5: what a caller was told stays recorded";
pub(crate) const ONE_ANSWER: &str = "I6: all are told the same";
pub(crate) const KEPT: &str = "I7: what was claimed is live, settled or lettered";
pub(crate) const COMES_UP: &str = "I7: a message that is not redelivered becomes a letter";
pub(crate) const NOT_HELD_UP: &str = "no process waits for its own claim whose answer was lost";
pub(crate) const ONE_MESSAGE: &str = "a key belongs to one message";
pub(crate) const CHARGED: &str = "a lost answer costs no attempt, and starts no body twice";
pub(crate) const SENSE: &str = "an answer fits what happened";

/// Returns the properties of a scene.
pub(crate) fn of(scene: &Scene) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always(ONE_CLAIM, |model: &Protocol, state: &State| {
            state
                .keys
                .iter()
                .all(|key| one_live_claim(model, state, key))
        }),
        Property::always(FENCED, |_, state| holds(state, Law::Fenced)),
        Property::always(ENDED, |_, state| holds(state, Law::Ended)),
        Property::always(BUDGET, |_, state| holds(state, Law::Budget)),
        Property::always(PAUSED, |_, state| holds(state, Law::Pause)),
        Property::always(ONE_LETTER, |_, state: &State| {
            state.keys.iter().all(one_letter)
        }),
        Property::always(WHOLE_LETTER, |_, state| holds(state, Law::Letters)),
        Property::always(STAYS, |_, state: &State| state.keys.iter().all(stays)),
        Property::always(ONE_ANSWER, |_, state| holds(state, Law::OneAnswer)),
        Property::always(KEPT, |_, state: &State| state.keys.iter().all(kept)),
        Property::always(COMES_UP, comes_up),
        Property::always(NOT_HELD_UP, not_held_up),
        Property::always(ONE_MESSAGE, |_, state| holds(state, Law::OneMessage)),
        Property::always(CHARGED, |_, state| holds(state, Law::Charged)),
        Property::always(SENSE, |_, state| holds(state, Law::Sense)),
        Property::sometimes("done", |_, state: &State| state.keys.iter().any(is_done)),
        Property::sometimes("dead: its budget was spent", |_, state| {
            died_of(state, Reason::BudgetSpent)
        }),
    ];
    if scene.leases == Leases::PerProcess {
        all.extend([
            Property::sometimes(
                "a process that was marked dead has a body that runs on",
                |_, state: &State| {
                    state.keys.iter().any(|key| {
                        let mut hands = key.hands.iter().zip(&state.runners);
                        hands.any(|(hand, lives)| {
                            matches!(hand, Hand::Body { .. }) && lives.last().unwrap().dead
                        })
                    })
                },
            ),
            Property::sometimes(
                "taken over from a dead process before the claim's own end",
                |_, state: &State| {
                    state.keys.iter().any(|key| {
                        key.hands.iter().any(|hand| match *hand {
                            Hand::Body { token, until, .. } => {
                                until > state.now && key.history.last != Some(token)
                            }
                            _ => false,
                        })
                    })
                },
            ),
        ]);
    }
    if scene.left == Limits::default() {
        all.extend(reached(scene));
    }
    all
}

/// What a world without limits comes to.
fn reached(scene: &Scene) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::sometimes("done, in a second attempt", |_, state: &State| {
            state
                .keys
                .iter()
                .any(|key| is_done(key) && key.history.starts > 1)
        }),
        Property::sometimes("dead: a permanent error", |_, state| {
            died_of(state, Reason::PermanentError)
        }),
        Property::sometimes("dead: not redelivered", |_, state| {
            died_of(state, Reason::Abandoned)
        }),
        Property::sometimes("discarded", |_, state: &State| {
            state
                .keys
                .iter()
                .any(|key| matches!(end(key), Some(Settlement::Discarded(_))))
        }),
        Property::sometimes("redriven, and not redelivered", |_, state: &State| {
            state.keys.iter().any(|key| {
                key.history.redriven.is_some() && matches!(end(key), Some(Settlement::Dead(_)))
            })
        }),
        Property::sometimes("redriven, and done", |_, state: &State| {
            let redriven = |key: &Key| {
                key.letters
                    .iter()
                    .any(|letter| letter.state == LetterState::Redriven)
            };
            state.keys.iter().any(|key| redriven(key) && is_done(key))
        }),
        Property::sometimes(
            "a report that was recorded is brought again",
            |model, state| {
                owed(state).any(|(key, step)| {
                    answer(model, state, key, None, &step) == Reply::Recorded
                        && is_done(&state.keys[key])
                })
            },
        ),
        // The window that idem does not close: `existing` and a transactional ledger do.
        Property::sometimes(
            "the work was done, and another attempt is about to do it",
            |_, state: &State| {
                state.keys.iter().any(|key| {
                    key.history.acted
                        && key
                            .hands
                            .iter()
                            .any(|hand| matches!(hand, Hand::Body { acted: false, .. }))
                })
            },
        ),
    ];
    if scene.again {
        all.push(Property::sometimes(
            "a claim whose answer was lost is there still",
            |_, state: &State| {
                state.keys.iter().any(|key| {
                    key.hands.iter().any(|hand| {
                        let last = key.history.nonce;
                        matches!(hand, Hand::Asked { claim, .. } if claim.nonce == last)
                    })
                })
            },
        ));
    }
    if scene.leases != Leases::None {
        all.push(Property::sometimes(
            "`LeaseLost`: a late body's result is refused",
            |model, state| {
                bodies(state).any(|(key, token)| {
                    answer(model, state, key, None, &report(token, Ending::Done))
                        == Reply::LeaseLost
                })
            },
        ));
    }
    all.push(Property::sometimes(
        "given back: the next start has the same number",
        |_, state: &State| {
            let given_back = |key: &Key| {
                matches!(key.record, Some(Record::Live(_))) && key.history.attempt == Attempt::None
            };
            state
                .keys
                .iter()
                .any(|key| given_back(key) && key.history.starts > 0)
        },
    ));
    if scene.versions.len() > 1 {
        all.push(Property::sometimes(
            "a lower budget has one attempt more",
            |_, state: &State| {
                state.keys.iter().any(|key| {
                    key.history.starts > key.history.allowed && key.history.end.is_none()
                })
            },
        ));
    }
    if scene.versions.iter().any(|(_, bury)| *bury) {
        all.push(Property::sometimes(
            "dead: its outcome is unknown",
            |_, state| died_of(state, Reason::UnknownOutcome),
        ));
    }
    if !scene.unread.is_empty() {
        all.push(Property::sometimes(
            "dead: it cannot be read",
            |_, state| died_of(state, Reason::Undecodable),
        ));
        all.push(Property::sometimes(
            "a message that could not be read is done",
            |_, state: &State| {
                let unread = |key: &Key| {
                    key.letters
                        .iter()
                        .any(|letter| letter.reason == Reason::Undecodable)
                };
                state.keys.iter().any(|key| unread(key) && is_done(key))
            },
        ));
    }
    if scene.keys.iter().any(|fingerprints| fingerprints.len() > 1) {
        all.push(Property::sometimes(
            "`KeyReused`: another message is turned away from a result",
            |model, state: &State| {
                (0..state.keys.len())
                    .filter(|key| is_done(&state.keys[*key]))
                    .any(|key| {
                        let mut messages = model.scene.keys[key].iter();
                        messages.any(|given| {
                            let claim = model.claim(state, 0, Asked::new(state, *given, 0));
                            answer(model, state, key, None, &claim) == Reply::KeyReused
                        })
                    })
            },
        ));
    }
    all
}

fn holds(state: &State, law: Law) -> bool {
    state
        .keys
        .iter()
        .all(|key| !key.history.broken.contains(&law))
}

/// A body that believes in its claim is alone in that, and the ledger believes the same.
fn one_live_claim(model: &Protocol, state: &State, key: &Key) -> bool {
    let leases = model.scene.leases;
    let believes = |process: usize, until: i64| {
        let runner = state.runners[process].last().unwrap();
        (leases == Leases::None || state.now < until)
            && (leases != Leases::PerProcess || state.now < runner.believes)
    };
    let hands = key.hands.iter().enumerate();
    let mut believers = hands.filter_map(|(process, hand)| match hand {
        Hand::Body { token, until, .. } if believes(process, *until) => Some(*token),
        _ => None,
    });
    let Some(believer) = believers.next() else {
        return true;
    };
    let held = match &key.record {
        Some(Record::Live(live)) => {
            matches!(live.phase, Phase::Running { .. }) && live.token == believer
        }
        _ => false,
    };
    held && believers.next().is_none()
}

fn one_letter(key: &Key) -> bool {
    let mut open = key
        .letters
        .iter()
        .filter(|letter| letter.state == LetterState::Open)
        .map(|letter| letter.id);
    match end(key) {
        Some(Settlement::Dead(letter)) => open.next() == Some(*letter) && open.next().is_none(),
        _ => open.next().is_none(),
    }
}

fn stays(key: &Key) -> bool {
    match (key.history.told, end(key)) {
        (None, _) => true,
        (Some(Told::Result(told)), Some(Settlement::Done(result))) => told == start_of(result),
        (
            Some(Told::Dead(told)),
            Some(Settlement::Dead(letter) | Settlement::Discarded(letter)),
        ) => told == *letter,
        _ => false,
    }
}

fn kept(key: &Key) -> bool {
    match (key.history.end, &key.record) {
        (None, record) => {
            let waited_for = key.history.message.is_some() || key.history.redriven.is_some();
            !waited_for || matches!(record, Some(Record::Live(_)))
        }
        (Some(End::Done { .. }), _) => is_done(key),
        (Some(End::Dead { letter }), _) => end(key) == Some(&Settlement::Dead(letter)),
        (Some(End::Discarded { letter, .. }), _) => {
            end(key) == Some(&Settlement::Discarded(letter))
        }
    }
}

/// If every process died now, a sweep after their leases would bury what has no attempt left, and
/// another one much later whatever is live.
fn comes_up(model: &Protocol, state: &State) -> bool {
    let sweep = |state: &State, key: usize, later: i64| {
        let mut facts = model.facts_at(state, key, None, state.now + later);
        facts.session += u64::from(model.scene.leases == Leases::None);
        model.ask(state, key, &Step::Sweep, &facts)
    };
    // An outage may hold the message back for a week.
    let much = LEASE + TTL + 7 * 24 * 60 * 60;
    (0..state.keys.len())
        .filter(|key| matches!(state.keys[*key].record, Some(Record::Live(_))))
        .all(|key| {
            let history = &state.keys[key].history;
            let soon = sweep(state, key, LEASE);
            match (soon.reply, soon.record) {
                (Reply::DeadLettered(_), _) => true,
                _ if history.redriven.is_none() && history.starts >= history.allowed => false,
                (_, Change::Keep) => {
                    matches!(sweep(state, key, much).reply, Reply::DeadLettered(_))
                }
                (_, Change::Put(record)) => {
                    let mut swept = state.clone();
                    swept.keys[key].record = Some(record);
                    matches!(sweep(&swept, key, much).reply, Reply::DeadLettered(_))
                }
                (_, Change::Remove) => false,
            }
        })
}

fn not_held_up(model: &Protocol, state: &State) -> bool {
    state
        .keys
        .iter()
        .enumerate()
        .all(|(number, key)| match &key.record {
            Some(Record::Live(Live {
                phase: Phase::Running { owner: by, .. },
                ..
            })) => {
                let mut free =
                    (0..key.hands.len()).filter(|process| key.hands[*process] == Hand::Empty);
                let itself = free.find(|process| *by == owner(*process, state.life(*process)));
                itself.is_none_or(|process| {
                    let given = model.scene.keys[number]
                        .iter()
                        .map(|given| model.claim(state, process, Asked::new(state, *given, 0)));
                    given.into_iter().all(|claim| {
                        let reply = answer(model, state, number, Some(process), &claim);
                        !matches!(reply, Reply::Busy { .. })
                    })
                })
            }
            _ => true,
        })
}

fn end(key: &Key) -> Option<&Settlement> {
    match &key.record {
        Some(Record::Settled(Settled { end, .. })) => Some(end),
        _ => None,
    }
}

fn is_done(key: &Key) -> bool {
    matches!(end(key), Some(Settlement::Done(_)))
}

fn died_of(state: &State, reason: Reason) -> bool {
    let mut letters = state.keys.iter().flat_map(|key| &key.letters);
    letters.any(|letter| letter.state == LetterState::Open && letter.reason == reason)
}

fn answer(
    model: &Protocol,
    state: &State,
    key: usize,
    process: Option<usize>,
    step: &Step,
) -> Reply {
    let facts = model.facts(state, key, process);
    model.ask(state, key, step, &facts).reply
}

/// The bodies that run: key and token.
fn bodies(state: &State) -> impl Iterator<Item = (usize, u64)> {
    hands(state).filter_map(|(key, hand)| match hand {
        Hand::Body { token, .. } => Some((key, token)),
        _ => None,
    })
}

/// The reports that will be brought again.
fn owed(state: &State) -> impl Iterator<Item = (usize, Step)> {
    hands(state).filter_map(|(key, hand)| match hand {
        Hand::Owing { token, ending } => Some((key, report(token, ending))),
        _ => None,
    })
}

fn hands(state: &State) -> impl Iterator<Item = (usize, Hand)> {
    state
        .keys
        .iter()
        .enumerate()
        .flat_map(|(number, key)| key.hands.iter().map(move |hand| (number, *hand)))
}

//! What can happen next, and what comes of it.

use idem_runtime::dead_letters::Reason;
use idem_runtime::ledger::Leases;
use idem_runtime::protocol::{Actor, Change, Grant, Record, RedrivePayload, Reply, Step};
use stateright::{Model, Property};

use crate::history::History;
use crate::properties;
use crate::world::{
    Asked, BEAT, Ending, Hand, LEASE, Letter, Protocol, Runner, State, bury, report, ticks, unread,
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Action {
    /// A message is delivered, or its call tries again.
    Claim {
        process: usize,
        key: usize,
        fingerprint: u8,
        version: usize,
        answer: Answer,
    },
    /// A claim that was not answered is asked again: for its body, or to give it back.
    AskAgain {
        process: usize,
        key: usize,
        run: bool,
        answer: Answer,
    },
    /// A claim that was asked again for this is given back.
    GiveBack {
        process: usize,
        key: usize,
        answer: Answer,
    },
    /// A process says that it lives.
    Beat {
        process: usize,
        answer: Answer,
    },
    /// A duplicate of a settled message is answered from a read, whatever its process has in hand.
    Look {
        key: usize,
        fingerprint: u8,
    },
    /// The body does its work: the card is charged.
    Act {
        process: usize,
        key: usize,
    },
    Renew {
        process: usize,
        key: usize,
        answer: Answer,
    },
    /// The body ends, or its call is dropped, before it starts or in its midst, and the end is
    /// reported.
    End {
        process: usize,
        key: usize,
        ending: Ending,
        answer: Answer,
    },
    /// A report that was not answered is brought again.
    ReportAgain {
        process: usize,
        key: usize,
        answer: Answer,
    },
    /// A process dies, and another one starts in its place.
    Crash {
        process: usize,
    },
    Redrive {
        key: usize,
        letter: usize,
    },
    Discard {
        key: usize,
        letter: usize,
    },
    Restore {
        key: usize,
        letter: usize,
    },
    /// A redrive that need not be followed, or no longer.
    Forget {
        key: usize,
        letter: usize,
    },
    /// A message comes that no handler can take.
    Bury {
        key: usize,
        message: u8,
    },
    Sweep {
        key: usize,
    },
    Tick,
}

/// What becomes of the ledger's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Answer {
    Arrives,
    /// The step happened, and the answer is lost.
    Lost,
    /// The step did not happen.
    Refused,
}

use Answer::{Arrives, Lost, Refused};

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.keys.iter().any(|key| !key.history.broken.is_empty()) {
            return; // What follows a broken promise tells nothing more.
        }
        let answers = |all: &'static [Answer]| {
            if state.left.lost == Some(0) {
                &[Arrives]
            } else {
                all
            }
        };
        let leases = self.scene.leases;
        let claims = || {
            let kept: &[_] = &[Arrives, Lost, Refused];
            answers(if self.scene.again {
                kept
            } else {
                &[Arrives, Lost]
            })
            .iter()
        };
        if leases == Leases::PerProcess {
            for process in 0..self.scene.processes {
                let beats = answers(&[Arrives, Lost]).iter();
                actions.extend(beats.map(|&answer| Action::Beat { process, answer }));
            }
        }
        for (key, at) in state.keys.iter().enumerate() {
            if matches!(at.record, Some(Record::Settled(_))) {
                actions.extend(
                    self.scene.keys[key]
                        .iter()
                        .map(|&fingerprint| Action::Look { key, fingerprint }),
                );
            }
            actions.extend(
                self.scene
                    .unread
                    .iter()
                    .map(|&message| Action::Bury { key, message }),
            );
            for (process, hand) in at.hands.iter().enumerate() {
                match *hand {
                    Hand::Empty => {
                        for &fingerprint in self.scene.keys[key] {
                            for version in 0..self.scene.versions.len() {
                                actions.extend(claims().map(|&answer| Action::Claim {
                                    process,
                                    key,
                                    fingerprint,
                                    version,
                                    answer,
                                }));
                            }
                        }
                    }
                    Hand::Body { acted, .. } => {
                        if !acted {
                            actions.push(Action::Act { process, key });
                        }
                        if leases != Leases::None {
                            let renewals = answers(&[Arrives, Lost]).iter();
                            actions.extend(renewals.map(|&answer| Action::Renew {
                                process,
                                key,
                                answer,
                            }));
                        }
                        let failures = self
                            .scene
                            .failures
                            .iter()
                            .map(|outcome| Ending::Failed(*outcome));
                        let unfailed = if acted {
                            Ending::Done
                        } else {
                            Ending::GivenBack
                        };
                        for ending in std::iter::once(unfailed).chain(failures) {
                            let ends = answers(&[Arrives, Lost, Refused]).iter();
                            actions.extend(ends.map(|&answer| Action::End {
                                process,
                                key,
                                ending,
                                answer,
                            }));
                        }
                    }
                    Hand::Asked { granted: None, .. } => {
                        for run in [false, true] {
                            actions.extend(answers(&[Arrives, Lost]).iter().map(|&answer| {
                                Action::AskAgain {
                                    process,
                                    key,
                                    run,
                                    answer,
                                }
                            }));
                        }
                    }
                    Hand::Asked { .. } => {
                        let ends = answers(&[Arrives, Lost, Refused]).iter();
                        actions.extend(ends.map(|&answer| Action::GiveBack {
                            process,
                            key,
                            answer,
                        }));
                    }
                    Hand::Owing { .. } => {
                        let reports = answers(&[Arrives, Lost]).iter();
                        actions.extend(reports.map(|&answer| Action::ReportAgain {
                            process,
                            key,
                            answer,
                        }));
                    }
                }
            }
            if at.record.is_some() {
                actions.push(Action::Sweep { key });
            }
            if state.left.operator != Some(0) {
                for letter in 0..at.letters.len() {
                    actions.extend([
                        Action::Redrive { key, letter },
                        Action::Discard { key, letter },
                        Action::Restore { key, letter },
                    ]);
                    if at.letters[letter].reason == Reason::Undecodable {
                        actions.push(Action::Forget { key, letter });
                    }
                }
            }
        }
        if state.left.crashes != Some(0) {
            actions.extend((0..self.scene.processes).map(|process| Action::Crash { process }));
        }
        if state.left.ticks != Some(0) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Claim {
                process,
                key,
                fingerprint,
                version,
                answer,
            } => {
                state.wake(process);
                let asked = Asked::new(&state, fingerprint, version);
                state.nonce = asked.nonce;
                if !self.scene.again && answer == Lost {
                    let step = self.claim(last, process, asked);
                    let facts = self.facts(last, key, Some(process));
                    if self.ask(last, key, &step, &facts).record == Change::Keep {
                        return None; // As if it had never been asked.
                    }
                }
                self.bring_claim(&mut state, process, key, asked, true, answer);
            }
            Action::AskAgain {
                process,
                key,
                run,
                answer,
            } => {
                let Hand::Asked { claim, .. } = last.keys[key].hands[process] else {
                    return None;
                };
                state.wake(process);
                self.bring_claim(&mut state, process, key, claim, run, answer);
            }
            Action::GiveBack {
                process,
                key,
                answer,
            } => {
                let Hand::Asked {
                    claim,
                    granted: Some(token),
                } = last.keys[key].hands[process]
                else {
                    return None;
                };
                state.wake(process);
                let arrives = lose(&mut state, answer);
                if answer != Refused {
                    let step = report(token, Ending::GivenBack);
                    self.apply(&mut state, key, Some(process), &step, false);
                }
                state.keys[key].hands[process] = if arrives {
                    Hand::Empty
                } else {
                    Hand::Asked {
                        claim,
                        granted: None,
                    }
                };
            }
            Action::Beat { process, answer } => {
                state.wake(process);
                let heard = lose(&mut state, answer);
                let runner = state.runners[process].last_mut().unwrap();
                runner.until = last.now + BEAT;
                if heard {
                    runner.believes = runner.until;
                }
            }
            Action::Look { key, fingerprint } => {
                let step = self.claim(last, 0, Asked::new(last, fingerprint, 0));
                if self
                    .ask(last, key, &step, &self.facts(last, key, None))
                    .record
                    != Change::Keep
                {
                    return None; // It has expired, which is for a claim to say.
                }
                self.apply(&mut state, key, None, &step, true);
            }
            Action::Act { process, key } => {
                let Hand::Body { acted, .. } = &mut state.keys[key].hands[process] else {
                    return None;
                };
                *acted = true;
                state.keys[key].history.acted = true;
            }
            Action::Renew {
                process,
                key,
                answer,
            } => {
                let Hand::Body { token, .. } = last.keys[key].hands[process] else {
                    return None;
                };
                state.wake(process);
                let heard = lose(&mut state, answer);
                let reply = self.apply(
                    &mut state,
                    key,
                    Some(process),
                    &Step::Renew {
                        token,
                        lease: ticks(LEASE),
                    },
                    heard,
                );
                if let Hand::Body { until, .. } = &mut state.keys[key].hands[process]
                    && heard
                    && reply == Reply::Recorded
                {
                    *until = last.now + LEASE;
                }
            }
            Action::End {
                process,
                key,
                ending,
                answer,
            } => {
                let Hand::Body { token, .. } = last.keys[key].hands[process] else {
                    return None;
                };
                self.bring(&mut state, process, key, (token, ending), answer, true);
            }
            Action::ReportAgain {
                process,
                key,
                answer,
            } => {
                let Hand::Owing { token, ending } = last.keys[key].hands[process] else {
                    return None;
                };
                self.bring(&mut state, process, key, (token, ending), answer, false);
            }
            Action::Crash { process } => {
                state.left.crashes = state.left.crashes.map(|left| left - 1);
                state.runners[process].push(Runner::born(last.now));
                if self.scene.leases == Leases::None {
                    state.session += 1;
                }
                for key in &mut state.keys {
                    key.hands[process] = Hand::Empty;
                }
            }
            Action::Redrive { key, letter } => {
                state.left.operator = state.left.operator.map(|left| left - 1);
                let Letter {
                    id: letter, reason, ..
                } = last.keys[key].letters[letter];
                let History {
                    message, redriven, ..
                } = &last.keys[key].history;
                let payload = message.or(*redriven).unwrap_or(0).to_string().into_bytes();
                let mut payload = RedrivePayload::new(payload);
                payload.cause = (reason == Reason::Undecodable).then(unread);
                let step = Step::Redrive {
                    letter,
                    payload: Some(Box::new(payload)),
                    by: Actor::default(),
                };
                self.apply(&mut state, key, None, &step, true);
            }
            Action::Discard { key, letter } => {
                state.left.operator = state.left.operator.map(|left| left - 1);
                let letter = last.keys[key].letters[letter].id;
                self.apply(
                    &mut state,
                    key,
                    None,
                    &Step::Discard {
                        letter,
                        by: Actor::default(),
                    },
                    true,
                );
            }
            Action::Restore { key, letter } => {
                state.left.operator = state.left.operator.map(|left| left - 1);
                let letter = last.keys[key].letters[letter].id;
                self.apply(
                    &mut state,
                    key,
                    None,
                    &Step::Restore {
                        letter,
                        by: Actor::default(),
                    },
                    true,
                );
            }
            Action::Forget { key, letter } => {
                state.left.operator = state.left.operator.map(|left| left - 1);
                let letter = last.keys[key].letters[letter].id;
                self.apply(
                    &mut state,
                    key,
                    None,
                    &Step::Redrive {
                        letter,
                        payload: None,
                        by: Actor::default(),
                    },
                    true,
                );
            }
            Action::Bury { key, message } => {
                self.apply(&mut state, key, None, &bury(message), true);
            }
            Action::Sweep { key } => {
                self.apply(&mut state, key, None, &Step::Sweep, true);
            }
            Action::Tick => {
                state.left.ticks = state.left.ticks.map(|left| left - 1);
                state.now += 1;
                for key in &mut state.keys {
                    key.history.pass(state.now);
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(&self.scene)
    }
}

impl Protocol {
    /// Brings a claim to the ledger, for its body or to give it back.
    fn bring_claim(
        &self,
        state: &mut State,
        process: usize,
        key: usize,
        claim: Asked,
        run: bool,
        answer: Answer,
    ) {
        let heard = lose(state, answer);
        let reply = (answer != Refused).then(|| {
            let step = self.claim(state, process, claim);
            self.apply(state, key, Some(process), &step, heard && run)
        });
        state.keys[key].hands[process] = match reply {
            Some(Reply::Run(Grant { token, .. })) if heard && run => Hand::Body {
                token,
                until: state.now + LEASE,
                acted: false,
            },
            Some(Reply::Run(Grant { token, .. })) if heard => Hand::Asked {
                claim,
                granted: Some(token),
            },
            _ if heard || !self.scene.again => Hand::Empty,
            _ => Hand::Asked {
                claim,
                granted: None,
            },
        };
    }

    /// Brings a report to the ledger; what is not answered is kept. Its caller is there the first
    /// time only.
    fn bring(
        &self,
        state: &mut State,
        process: usize,
        key: usize,
        step: (u64, Ending),
        answer: Answer,
        caller: bool,
    ) {
        let (token, ending) = step;
        state.wake(process);
        let arrives = lose(state, answer);
        if answer != Refused {
            let step = report(token, ending);
            self.apply(state, key, Some(process), &step, arrives && caller);
        }
        state.keys[key].hands[process] = if arrives {
            Hand::Empty
        } else {
            Hand::Owing { token, ending }
        };
    }
}

/// Counts an answer that does not arrive; says whether it does.
fn lose(state: &mut State, answer: Answer) -> bool {
    if answer != Arrives {
        state.left.lost = state.left.lost.map(|left| left - 1);
    }
    answer == Arrives
}

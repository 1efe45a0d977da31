//! What can happen next to processes with the shared core.

use idem_runtime::protocol::Record;
use stateright::{Model, Property};

use super::answers::NOT_COMMITTED;
use super::bugs::Bug;
use super::jobs::{Ask, Job};
use super::properties;
use super::store::remove_due;
use super::world::{Core, Hand, LATEST, Mode, State};
use crate::world::{BEAT, Ending};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Action {
    /// A message is delivered, or its call tries again.
    Call {
        process: usize,
        key: usize,
    },
    /// A message is delivered that is to be claimed with its attempt's end.
    CallAlone {
        process: usize,
        key: usize,
    },
    /// The body ends, or its call is dropped.
    End {
        process: usize,
        key: usize,
        ending: Ending,
    },
    /// What the ledger did not take or answer is brought again.
    Again {
        process: usize,
        key: usize,
    },
    /// A call waits no longer for its job.
    GiveUp {
        process: usize,
        key: usize,
    },
    Sweep {
        process: usize,
        key: usize,
    },
    /// The store removes a row that is not live.
    RemoveDue {
        key: usize,
    },
    /// All jobs that wait are decided, and written as one batch.
    Round {
        process: usize,
    },
    Retire {
        process: usize,
        round: usize,
    },
    Land {
        process: usize,
        round: usize,
    },
    Answer {
        process: usize,
        round: usize,
    },
    Lose {
        process: usize,
        round: usize,
    },
    /// A batch that is not waited for any more lands.
    LandLate {
        batch: usize,
    },
    CommitLands {
        process: usize,
        key: usize,
    },
    CommitAnswered {
        process: usize,
        key: usize,
    },
    CommitLost {
        process: usize,
        key: usize,
    },
    /// The store rolls back for a reason of its own.
    RolledBack {
        process: usize,
        key: usize,
    },
    Beat {
        process: usize,
    },
    Crash {
        process: usize,
    },
    Tick,
}

impl Model for Core {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.keys.iter().any(|key| !key.history.broken.is_empty()) {
            return; // What follows a broken promise tells nothing more.
        }
        let left = state.left;
        let lands = |sent: i64| state.now <= sent.saturating_add(LATEST);
        for process in 0..state.processes.len() {
            let of = &state.processes[process];
            for (key, at) in of.locals.iter().enumerate() {
                match (&at.job, at.hand) {
                    (Some(job), _) => {
                        if !job.tried.is_empty() && !state.is_in_batch(process, key) {
                            actions.push(Action::GiveUp { process, key });
                        }
                        continue;
                    }
                    (None, Hand::Empty) if left.calls > 0 => {
                        if self.scene.mode != Mode::Single {
                            actions.push(Action::Call { process, key });
                        }
                        if matches!(self.scene.mode, Mode::Single | Mode::Fresh) {
                            actions.push(Action::CallAlone { process, key });
                        }
                    }
                    (None, Hand::Body { .. }) => {
                        let endings = self.scene.endings.iter();
                        actions.extend(endings.map(|&ending| Action::End {
                            process,
                            key,
                            ending,
                        }));
                    }
                    (None, Hand::Owing { .. } | Hand::Asked { .. } | Hand::Unsure { .. }) => {
                        actions.push(Action::Again { process, key });
                    }
                    (None, Hand::Empty | Hand::Committing { .. }) => {}
                }
                if let Some(commit) = &at.commit {
                    if commit.outcome.is_some() {
                        actions.push(Action::CommitAnswered { process, key });
                    } else if lands(commit.sent) {
                        actions.push(Action::CommitLands { process, key });
                    }
                    if left.lost > 0 || !lands(commit.sent) {
                        actions.push(Action::CommitLost { process, key });
                    }
                    if left.lost > 0 && commit.outcome.is_none() {
                        actions.push(Action::RolledBack { process, key });
                    }
                }
                if left.sweeps > 0 && matches!(state.record(key), Some(Record::Live(_))) {
                    actions.push(Action::Sweep { process, key });
                }
            }
            let mut jobs = of.locals.iter().enumerate();
            if of.batches.len() < self.scene.rounds
                && jobs.any(|(key, at)| at.job.is_some() && !state.is_in_batch(process, key))
            {
                actions.push(Action::Round { process });
            }
            for (round, batch) in of.batches.iter().enumerate() {
                if batch.sent == i64::MAX {
                    actions.push(Action::Retire { process, round });
                    continue;
                }
                if batch.outcome.is_some() {
                    actions.push(Action::Answer { process, round });
                } else if lands(batch.sent) {
                    actions.push(Action::Land { process, round });
                }
                if left.lost > 0 || (batch.outcome.is_none() && !lands(batch.sent)) {
                    actions.push(Action::Lose { process, round });
                }
            }
            if left.beats > 0 {
                actions.push(Action::Beat { process });
            }
            if left.crashes > 0 {
                actions.push(Action::Crash { process });
            }
        }
        if left.sweeps > 0 {
            let keys = 0..state.keys.len();
            let due = keys.filter(|key| {
                let row = state.keys[*key].row.as_ref();
                row.is_some_and(|row| {
                    !matches!(row.record, Some(Record::Live(_))) && row.due <= state.now
                })
            });
            actions.extend(due.map(|key| Action::RemoveDue { key }));
        }
        actions.extend((0..state.late.len()).map(|batch| Action::LandLate { batch }));
        if left.ticks > 0 {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        let state = &mut next;
        match action {
            Action::Call { process, key } => {
                state.left.calls -= 1;
                Self::claim_first(state, process, key);
            }
            Action::CallAlone { process, key } => {
                state.left.calls -= 1;
                self.foresee(state, process, key);
            }
            Action::End {
                process,
                key,
                ending,
            } => {
                let Hand::Body { token, until } = last.processes[process].locals[key].hand else {
                    return None;
                };
                let at = state.local(process, key);
                if self.scene.mode.has_transactions() && ending == Ending::Done {
                    at.hand = Hand::Committing { token, until };
                    self.commit(state, process, key, token);
                } else if at.alone.is_some() && ending == Ending::GivenBack {
                    // It leaves nothing.
                    (at.hand, at.alone) = (Hand::Empty, None);
                } else {
                    at.hand = Hand::Empty;
                    at.job = Some(Job::new(at.report(token, ending)));
                }
            }
            Action::Again { process, key } => {
                let at = state.local(process, key);
                let ask = match at.hand {
                    Hand::Owing { token, ending } => at.report(token, ending),
                    Hand::Unsure { token } => at.report(token, NOT_COMMITTED),
                    Hand::Asked { nonce } => Ask::Claim {
                        nonce,
                        to_give_back: true,
                    },
                    _ => return None,
                };
                at.job = Some(Job {
                    read: true,
                    ..Job::new(ask)
                });
            }
            Action::GiveUp { process, key } => {
                let at = state.local(process, key);
                at.doubt = true;
                match (at.job.take()?.ask, at.hand) {
                    (_, Hand::Asked { .. } | Hand::Unsure { .. }) | (Ask::Sweep, _) => {}
                    (Ask::Claim { nonce, .. }, _) => at.hand = Hand::Asked { nonce },
                    (Ask::Report { token, ending }, _) => at.hand = Hand::Owing { token, ending },
                    (Ask::Attempt { alone, ending }, _) => {
                        let token = alone.grant.token;
                        at.hand = Hand::Owing { token, ending };
                    }
                }
            }
            Action::Sweep { process, key } => {
                state.left.sweeps -= 1;
                state.local(process, key).job = Some(Job {
                    read: true,
                    ..Job::new(Ask::Sweep)
                });
            }
            Action::RemoveDue { key } => {
                state.left.sweeps -= 1;
                remove_due(state, key);
            }
            Action::Round { process } => {
                self.round(state, process);
            }
            Action::Retire { process, round } => self.retire(state, process, round),
            Action::Land { process, round } => {
                let batch = &last.processes[process].batches[round];
                let outcome = self.land(state, batch);
                state.processes[process].batches[round].outcome = Some(outcome);
            }
            Action::Answer { process, round } => {
                let batch = state.processes[process].batches.remove(round);
                self.answered(state, process, batch);
            }
            Action::Lose { process, round } => {
                state.left.lost = state.left.lost.saturating_sub(1);
                let batch = state.processes[process].batches.remove(round);
                self.unanswered(state, process, batch);
            }
            Action::LandLate { batch } => {
                let batch = state.late.remove(batch);
                self.land(state, &batch);
            }
            Action::CommitLands { process, key } => {
                let batch = last.processes[process].locals[key].commit.as_ref()?;
                let outcome = self.land(state, batch);
                state.local(process, key).commit.as_mut()?.outcome = Some(outcome);
            }
            Action::CommitAnswered { process, key } => {
                let batch = state.local(process, key).commit.take()?;
                self.committed(state, process, &batch);
            }
            Action::CommitLost { process, key } => {
                state.left.lost = state.left.lost.saturating_sub(1);
                let batch = state.local(process, key).commit.take()?;
                if self.has(Bug::CommitNotLookedUp) {
                    self.took_place(state, process, &batch.writes[0]);
                    state.is_late(batch);
                    return Some(next);
                }
                self.not_committed(state, process, &batch.writes[0]);
                state.is_late(batch);
            }
            Action::RolledBack { process, key } => {
                state.left.lost -= 1;
                let batch = state.local(process, key).commit.take()?;
                self.not_committed(state, process, &batch.writes[0]);
            }
            Action::Beat { process } => {
                state.left.beats -= 1;
                let runner = state.processes[process].runner;
                if state.runners[runner].dead {
                    self.wake(state, process);
                } else {
                    state.runners[runner].until = state.now + BEAT;
                    state.processes[process].believes = self.local(state, process) + BEAT;
                }
            }
            Action::Crash { process } => {
                state.left.crashes -= 1;
                let of = &mut state.processes[process];
                let commits = of.locals.iter_mut().filter_map(|at| at.commit.take());
                let on_their_way: Vec<_> = commits.chain(of.batches.drain(..)).collect();
                of.locals.iter_mut().for_each(|at| *at = Default::default());
                on_their_way
                    .into_iter()
                    .for_each(|batch| state.is_late(batch));
                state.is_born(process, self.scene.clocks[process]);
            }
            Action::Tick => {
                state.left.ticks -= 1;
                state.now += 1;
                let now = state.now;
                state.late.retain(|batch| now <= batch.sent + LATEST);
                state.keys.iter_mut().for_each(|key| key.pass(now));
            }
        }
        // With one key, a job that comes later is the same as one that waits.
        if let Action::Call { process, .. }
        | Action::CallAlone { process, .. }
        | Action::End { process, .. }
        | Action::Again { process, .. }
        | Action::Sweep { process, .. } = action
            && self.scene.keys == 1
            && next.processes[process].batches.is_empty()
        {
            self.round(&mut next, process);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(&self.scene)
    }
}

//! The store: a batch that reaches it takes place, or not, and an observer sees that.

use idem_runtime::protocol::{Reply, Step};

use super::bugs::Bug;
use super::jobs::{Batch, Outcome};
use super::world::{Core, State};
use crate::history::Seen;

impl Core {
    /// A batch reaches the store: each write takes place if its row is as expected, and none if its
    /// runner is dead. Those of a transaction take its business data along.
    pub(super) fn land(&self, state: &mut State, batch: &Batch) -> Outcome {
        if state.runners[batch.runner].dead && !self.has(Bug::DeadRunnerWrites) {
            return Outcome::RunnerDead;
        }
        let mut took = Vec::new();
        for (place, write) in batch.writes.iter().enumerate() {
            let key = if self.has(Bug::OtherKey) {
                batch.writes[batch.writes.len() - 1 - place].key
            } else {
                write.key
            };
            if state.keys[key].row.as_ref().map(|row| row.version) != write.expected {
                if batch.commits && self.has(Bug::CommittedWithoutItsRecord) {
                    state.keys[key].business.extend(write.ask.done());
                }
                continue;
            }
            took.push(write.version);
            let process = state.runners[batch.runner].process;
            let step = self.step(process, batch.runner, write.ask);
            if let Some(token) = write.gives_back {
                let step = Step::GiveBack { token };
                observe_of(state, key, &step, &Reply::Recorded, write.now, true, false);
            }
            if let Some(reply) = &write.reply {
                observe(state, key, &step, reply, write.now, true);
            }
            let at = &mut state.keys[key];
            at.row.clone_from(&write.row);
            if let Some(record) = write.record() {
                at.token = at.token.max(record.token());
            }
            if let Some(token) = write.ask.done() {
                at.recorded.push(token);
                if batch.commits {
                    at.business.push(token);
                }
            }
            at.pass(state.now);
        }
        Outcome::Took(took)
    }
}

/// A row whose record is not live is removed when its time has come.
pub(super) fn remove_due(state: &mut State, key: usize) {
    if state.record(key).is_some() {
        let now = state.now;
        observe(state, key, &Step::Sweep, &Reply::Recorded, now, true);
    }
    state.keys[key].row = None;
}

/// An observer sees a step at the moment at which it takes place.
pub(super) fn observe(
    state: &mut State,
    key: usize,
    step: &Step,
    reply: &Reply,
    now: i64,
    wrote: bool,
) {
    let owner = state.owner(state.record(key));
    let dead_owner = owner.is_some_and(|owner| state.runners[owner].dead);
    observe_of(state, key, step, reply, now, wrote, dead_owner);
}

fn observe_of(
    state: &mut State,
    key: usize,
    step: &Step,
    reply: &Reply,
    now: i64,
    wrote: bool,
    dead_owner: bool,
) {
    let at = &mut state.keys[key];
    at.history.observe(&Seen {
        step,
        reply,
        wrote,
        heard: false,
        now,
        token: at.token,
        dead_owner,
    });
}

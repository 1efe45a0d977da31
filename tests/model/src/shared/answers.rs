//! The rules of the shared core: what comes of a write's answer, or of none.

use idem_runtime::dead_letters::AttemptOutcome;
use idem_runtime::protocol::{Record, Reply, Step};

use super::bugs::Bug;
use super::jobs::{Ask, Batch, Job, Outcome, Write};
use super::world::{Core, Hand, State};
use crate::history::Law;
use crate::world::{Ending, report};

impl Core {
    /// A batch was answered.
    pub(super) fn answered(&self, state: &mut State, process: usize, batch: Batch) {
        let is_today = batch.runner == state.processes[process].runner;
        if is_today && batch.outcome == Some(Outcome::RunnerDead) {
            self.wake(state, process);
        }
        let took = match batch.outcome {
            Some(Outcome::Took(took)) => took,
            _ => Vec::new(),
        };
        for write in batch.writes {
            let counts = self.counts(state, process, &write);
            if took.contains(&write.version) && counts {
                self.took_place(state, process, &write);
            } else if let Some(job) = &mut state.local(process, write.key).job {
                // It lost its race.
                job.read = true;
            }
        }
    }

    /// The answer to a batch was lost, or is not waited for any more. If it has not landed, it may
    /// do so later.
    pub(super) fn unanswered(&self, state: &mut State, process: usize, batch: Batch) {
        for write in &batch.writes {
            let at = state.local(process, write.key);
            if self.has(Bug::TrustsMemory) {
                let record = write.record().cloned();
                at.own = record.map(|record| (record, write.version));
            } else {
                (at.own, at.doubt) = (None, true);
            }
            if let Some(job) = &mut at.job {
                job.read = true;
                job.tried.push(write.clone());
            }
        }
        state.is_late(batch);
    }

    /// A process was marked dead and finds out: all its claims are lost, and it goes on under
    /// another name. Its jobs are decided again.
    pub(super) fn wake(&self, state: &mut State, process: usize) {
        state.is_born(process, self.scene.clocks[process]);
        let locals = state.processes[process].locals.iter_mut();
        locals
            .filter_map(|at| at.job.as_mut())
            .for_each(|job| job.read = true);
    }

    /// Whether a write that took place is what its caller waits for: a claim of an earlier life is
    /// nothing to start a body with.
    pub(super) fn counts(&self, state: &State, process: usize, write: &Write) -> bool {
        !matches!(write.ask, Ask::Claim { .. })
            || write.runner == state.processes[process].runner
            || self.has(Bug::TriedInAnEarlierLife)
    }

    /// A job's write took place, as its answer says, or its version in the row.
    pub(super) fn took_place(&self, state: &mut State, process: usize, write: &Write) {
        let runner = state.processes[process].runner;
        let at = state.local(process, write.key);
        let own = write
            .record()
            .filter(|record| write.runner == runner && record.owner().is_some());
        at.own = own.map(|own| (own.clone(), write.version));
        let until = Self::belief(write);
        self.finish(
            state,
            process,
            write.key,
            write.ask,
            write.reply.as_ref(),
            until,
        );
    }

    /// A job is over, and its caller hears.
    pub(super) fn finish(
        &self,
        state: &mut State,
        process: usize,
        key: usize,
        ask: Ask,
        reply: Option<&Reply>,
        until: i64,
    ) {
        let settled = match state.record(key) {
            Some(Record::Settled(settled)) => Some(settled.token),
            _ => None,
        };
        let runner = state.processes[process].runner;
        let step = match self.step(process, runner, ask) {
            Step::Attempt(whole) => whole.report,
            step => step,
        };
        let at = &mut state.processes[process].locals[key];
        (at.job, at.doubt) = (None, false);
        let Some(reply) = reply else {
            return;
        };
        let before = at.hand;
        let mut heard = Some((step, reply.clone()));
        match (ask, reply) {
            (Ask::Sweep, _) => heard = None,
            (
                Ask::Claim {
                    to_give_back: true, ..
                },
                Reply::Run(grant),
            ) => {
                heard = None;
                at.job = Some(Job::new(Ask::Report {
                    token: grant.token,
                    ending: Ending::GivenBack,
                }));
            }
            (
                Ask::Claim {
                    to_give_back: true, ..
                },
                _,
            ) => (at.hand, heard) = (Hand::Empty, None),
            (Ask::Claim { .. }, Reply::Run(grant)) => {
                at.hand = Hand::Body {
                    token: grant.token,
                    until,
                };
            }
            // It looks what became of the commit: it may have come first.
            (_, Reply::LeaseLost)
                if settled.is_some_and(|token| before == Hand::Unsure { token }) =>
            {
                at.hand = Hand::Empty;
                let done = |token| (report(token, Ending::Done), Reply::Recorded);
                heard = settled.map(done);
            }
            (Ask::Report { .. }, Reply::LeaseLost) if matches!(before, Hand::Unsure { .. }) => {
                (at.hand, heard) = (Hand::Empty, None);
            }
            // Another process was first. This call goes on, with a claim.
            (Ask::Attempt { .. }, Reply::LeaseLost | Reply::Busy { .. } | Reply::NotYet { .. })
                if !matches!(before, Hand::Owing { .. }) =>
            {
                (at.hand, at.alone) = (Hand::Empty, None);
                if self.scene.retries > 0 {
                    Self::claim_first(state, process, key);
                }
                return;
            }
            _ => {
                at.hand = Hand::Empty;
                // The caller of a report that is brought again is gone.
                if matches!(before, Hand::Owing { .. } | Hand::Asked { .. }) {
                    heard = None;
                }
            }
        }
        if at.hand == Hand::Empty {
            at.alone = None;
        }
        let key = &mut state.keys[key];
        if let (
            Ask::Attempt {
                alone,
                ending: Ending::Failed(_),
            },
            Reply::Waiting { .. },
        ) = (ask, reply)
        {
            let is_counted = key.history.counted.contains(&alone.grant.token);
            key.history.holds(Law::Sense, is_counted);
        }
        if let Some((step, reply)) = heard {
            if let (Step::Complete { token, .. }, Reply::Recorded) = (&step, &reply) {
                key.history.holds(Law::Sense, key.recorded.contains(token));
            }
            key.history.answered(&step, &reply);
        }
    }

    /// A commit was answered: everything is recorded, or nothing.
    pub(super) fn committed(&self, state: &mut State, process: usize, batch: &Batch) {
        let write = &batch.writes[0];
        let alone = state.local(process, write.key).alone;
        match (&batch.outcome, alone) {
            (Some(Outcome::Took(took)), _) if took.contains(&write.version) => {
                self.took_place(state, process, write);
            }
            // The record's write lost its race before anything was committed: it is decided again.
            (Some(Outcome::Took(_)), Some(alone)) => {
                self.commit(state, process, write.key, alone.grant.token);
            }
            (outcome, _) => {
                let is_today = batch.runner == state.processes[process].runner;
                if *outcome == Some(Outcome::RunnerDead) && is_today {
                    self.wake(state, process);
                }
                self.not_committed(state, process, write);
            }
        }
    }

    /// A commit did not take place, or its answer was lost. That is reported as a step of its own,
    /// which finds a commit that came first.
    pub(super) fn not_committed(&self, state: &mut State, process: usize, write: &Write) {
        let Some(token) = write.ask.done() else {
            return;
        };
        let kept = self.has(Bug::KeptAfterRollBack);
        let at = state.local(process, write.key);
        (at.own, at.doubt) = (None, true);
        if kept {
            at.hand = Hand::Owing {
                token,
                ending: Ending::Done,
            };
        } else {
            at.hand = Hand::Unsure { token };
        }
    }
}

/// An attempt that failed because its transaction was not committed.
pub(super) const NOT_COMMITTED: Ending = Ending::Failed(AttemptOutcome::NotCommitted);

//! Attempts that claim with their end, and the transactions of bodies.

use idem_runtime::protocol::{Change, Decision, Facts, Record, Reply, Step, decide};

use super::bugs::Bug;
use super::jobs::{Alone, Ask, Batch, Job};
use super::rules::{Decided, id};
use super::store::observe;
use super::world::{Core, Hand, Mode, State};
use crate::world::{Ending, letter_id, time};

impl Core {
    /// A message comes. What its claim would be granted is looked up, and nothing is written.
    pub(super) fn foresee(&self, state: &mut State, process: usize, key: usize) {
        let row = state.keys[key].row.clone();
        let version = row.as_ref().map_or(0, |row| row.version);
        let record = row.and_then(|row| row.record);
        if state.owner(record.as_ref()).is_some() {
            return Self::claim_first(state, process, key);
        }
        let token = self.number(state, process, version);
        let facts = Facts::new(time(state.now), token, letter_id(state.letter + 1), "");
        let runner = state.processes[process].runner;
        let step = Step::Claim(self.claim(process, runner));
        let came_before = matches!(record, Some(Record::Live(_)));
        let record = record.filter(|_| !self.has(Bug::StartedUnseen));
        let decision = decide(&id(key), record, &step, &facts.leases(true));
        let Decision {
            record: change,
            reply,
            ..
        } = decision;
        match (change, reply) {
            (Change::Put(_), Reply::Run(grant))
                if !(came_before && self.scene.mode == Mode::Fresh) =>
            {
                let (now, local) = (state.now, self.local(state, process));
                let at = &mut state.keys[key];
                at.history.foreseen(grant, now, at.token);
                let at = state.local(process, key);
                at.alone = Some(Alone { grant, at: now });
                // It has no claim to believe in.
                at.hand = Hand::Body {
                    token,
                    until: local,
                };
            }
            (Change::Keep, reply) => {
                let now = state.now;
                observe(state, key, &step, &reply, now, false);
                state.keys[key].history.answered(&step, &reply);
            }
            _ => Self::claim_first(state, process, key),
        }
    }

    /// A call claims before its body starts.
    pub(super) fn claim_first(state: &mut State, process: usize, key: usize) {
        state.nonce += 1;
        let nonce = state.nonce;
        state.local(process, key).job = Some(Job::new(Ask::Claim {
            nonce,
            to_give_back: false,
        }));
    }

    /// A body is done: its transaction is to commit the result. If that is not to be recorded, the
    /// transaction is rolled back.
    pub(super) fn commit(&self, state: &mut State, process: usize, key: usize, token: u64) {
        let at = state.local(process, key);
        let job = Job::new(at.report(token, Ending::Done));
        let known = self.know(state, process, key, &job);
        match self.decide_job(state, process, key, &job, &known) {
            Decided::Write(write) => {
                assert_eq!(write.retires, None, "a result takes no claim over");
                state.local(process, key).commit = Some(Batch {
                    runner: write.runner,
                    sent: state.now,
                    writes: vec![*write],
                    outcome: None,
                    commits: true,
                });
            }
            Decided::Answer(reply) if state.local(process, key).alone.is_some() => {
                let local = self.local(state, process);
                self.finish(state, process, key, job.ask, Some(&reply), local);
            }
            Decided::Answer(_) => state.local(process, key).hand = Hand::Unsure { token },
        }
    }
}

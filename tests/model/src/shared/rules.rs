//! The rules of the shared core: how a job is decided, and what is written for it.

use idem_runtime::protocol::{
    Budget, Change, Claim, Decision, Facts, Fingerprint, Live, Phase, Record, RecordId, Reply,
    Seen, Settled, Step, WholeAttempt, decide,
};

use super::bugs::Bug;
use super::jobs::{Alone, Ask, Batch, Job, Write};
use super::store::observe;
use super::world::{Core, LATEST, Row, State};
use crate::world::{LEASE, TTL, letter_id, owner, report, ticks, time};

/// What a job is decided on.
pub(super) struct Known {
    version: Option<u64>,
    record: Option<Record>,
    read: bool,
}

/// What was decided.
pub(super) enum Decided {
    /// It is answered without a write.
    Answer(Reply),
    Write(Box<Write>),
}

impl Core {
    /// Takes all waiting jobs of a process, answers what needs no write, and puts the others into a
    /// batch.
    pub(super) fn round(&self, state: &mut State, process: usize) {
        let mut writes = Vec::new();
        for key in 0..self.scene.keys {
            let Some(job) = state.processes[process].locals[key].job.clone() else {
                continue;
            };
            if state.is_in_batch(process, key) {
                continue;
            }
            let known = self.know(state, process, key, &job);
            let mut tried = job.tried.iter();
            if known.read
                && let Some(write) = tried.find(|write| {
                    Some(write.version) == known.version && self.counts(state, process, write)
                })
            {
                self.took_place(state, process, write);
                continue;
            }
            match self.decide_job(state, process, key, &job, &known) {
                Decided::Answer(reply) => {
                    let local = self.local(state, process);
                    self.finish(state, process, key, job.ask, Some(&reply), local + LEASE);
                }
                Decided::Write(write) => writes.push(*write),
            }
        }
        if !writes.is_empty() {
            let retires = writes.iter().any(|write| write.retires.is_some());
            let batch = Batch {
                runner: state.processes[process].runner,
                // One that has to retire a runner first is sent afterwards.
                sent: if retires { i64::MAX } else { state.now },
                writes,
                outcome: None,
                commits: false,
            };
            state.processes[process].batches.push(batch);
        }
    }

    /// A first claim assumes that there is nothing, and a report knows its own claim; all else is
    /// read, and so is what may be wrong.
    pub(super) fn know(&self, state: &State, process: usize, key: usize, job: &Job) -> Known {
        let at = &state.processes[process].locals[key];
        let trusts = self.has(Bug::TrustsMemory);
        match (&at.own, job.ask) {
            (Some((record, version)), Ask::Report { .. }) if !job.read || trusts => Known {
                version: Some(*version),
                record: Some(record.clone()),
                read: false,
            },
            (None, Ask::Claim { .. }) if !job.read && !at.doubt => Known {
                version: None,
                record: None,
                read: false,
            },
            _ => {
                let row = state.keys[key].row.as_ref();
                Known {
                    version: row.map(|row| row.version),
                    record: row.and_then(|row| row.record.clone()),
                    read: true,
                }
            }
        }
    }

    pub(super) fn decide_job(
        &self,
        state: &mut State,
        process: usize,
        key: usize,
        job: &Job,
        known: &Known,
    ) -> Decided {
        let runner = state.processes[process].runner;
        let local = self.local(state, process);
        let version = self.number(state, process, known.version.unwrap_or(0));
        let now = match known.read {
            _ if self.has(Bug::OwnClock) => local,
            false if self.has(Bug::ClockThatLags) => state.now - 1,
            _ => state.now,
        };
        let write = Write {
            key,
            ask: job.ask,
            expected: known.version,
            version,
            row: None,
            reply: None,
            now,
            local,
            runner,
            gives_back: None,
            retires: None,
        };
        let holder = known
            .read
            .then(|| state.owner(known.record.as_ref()))
            .flatten();
        // The own runner is not late to itself: it can still be the first to write.
        let late = holder.filter(|holder| {
            let itself = *holder == runner && !self.has(Bug::OwnBeatIsLate);
            let holder = state.runners[*holder];
            !itself && !holder.dead && holder.until <= state.now
        });
        let dead = holder.is_some_and(|holder| state.runners[holder].dead);
        let facts = Facts::new(time(now), version, letter_id(state.letter + 1), "")
            .leases(true)
            .dead_owner(dead || late.is_some());
        let step = self.with_a_bug(self.step(process, runner, job.ask), known);
        let mut record = known.record.clone();
        if self.has(Bug::ChargedTwice)
            && let Some(Record::Live(Live {
                phase: Phase::Running { nonce, .. },
                ..
            })) = &mut record
        {
            *nonce = 0;
        }
        if self.has(Bug::FailureCountedTwice)
            && let Some(Record::Live(live)) = &mut record
        {
            live.past.iter_mut().for_each(|past| past.token = None);
        }
        let gives_back = self.of_an_earlier_life(state, runner, record.as_ref(), job.ask);
        if self.has(Bug::FailureInAPause)
            && matches!(&step, Step::Attempt(whole) if matches!(whole.report, Step::Fail(_)))
            && let Some(Record::Live(Live {
                phase: Phase::Waiting { until, .. },
                ..
            })) = &record
        {
            return Decided::Answer(Reply::Waiting { at: *until });
        }
        if let Some(token) = gives_back {
            let facts = facts.clone().dead_owner(false);
            let step = Step::GiveBack { token };
            record = match decide(&id(key), record, &step, &facts).record {
                Change::Put(record) => Some(record),
                _ => None,
            };
        }
        let Decision {
            record: change,
            reply,
            ..
        } = decide(&id(key), record, &step, &facts);
        let record = match change {
            Change::Keep => {
                if known.read {
                    observe(state, key, &step, &reply, now, false);
                }
                return Decided::Answer(reply);
            }
            Change::Put(record) => Some(record),
            Change::Remove => None,
        };
        let row = Row {
            version,
            due: self.due(record.as_ref(), state.now),
            record,
        };
        let leaves_nothing = row.record.is_none() && self.has(Bug::NothingLeftBehind);
        let row = (!leaves_nothing).then_some(row);
        if matches!(reply, Reply::DeadLettered(_)) {
            state.letter += 1;
        }
        let retires = late.filter(|_| !self.has(Bug::NotRetired));
        Decided::Write(Box::new(Write {
            row,
            reply: Some(reply),
            gives_back,
            retires: retires.map(|late| (late, state.runners[late].until)),
            ..write
        }))
    }

    /// The step that is decided: with a bug, a result counts as that of the next attempt, whichever
    /// that is.
    fn with_a_bug(&self, mut step: Step, known: &Known) -> Step {
        if let (Step::Attempt(whole), Some(Record::Live(live))) = (&mut step, &known.record)
            && self.has(Bug::RecordedAsAnotherAttempt)
        {
            whole.grant.number = live.past.last().map_or(0, |past| past.number) + 1;
        }
        step
    }

    /// The token of this claim in the name of an earlier life of its process. It is only asked for
    /// again because its body never started.
    fn of_an_earlier_life(
        &self,
        state: &State,
        runner: usize,
        record: Option<&Record>,
        ask: Ask,
    ) -> Option<u64> {
        let owner = state.owner(record)?;
        let process = |runner: usize| state.runners[runner].process;
        match (record?, ask) {
            (
                Record::Live(Live {
                    token,
                    phase: Phase::Running { nonce, .. },
                    ..
                }),
                Ask::Claim { nonce: asked, .. },
            ) if *nonce == asked && owner != runner && process(owner) == process(runner) => {
                (!self.has(Bug::EarlierLifeIsCharged)).then_some(*token)
            }
            _ => None,
        }
    }

    /// When the store removes the row: not before every late write is over that assumes that it never
    /// was.
    fn due(&self, record: Option<&Record>, now: i64) -> i64 {
        let late = if self.has(Bug::OldRemovedAtOnce) {
            0
        } else {
            2 * LATEST
        };
        match record {
            Some(Record::Live(_)) => 0,
            Some(Record::Settled(Settled { at, .. })) => at.as_second() + TTL + late,
            None => now + 2 * LATEST,
        }
    }

    /// Marks the late runners dead whose claims a batch takes over. If one has beaten meanwhile,
    /// its job is read again.
    pub(super) fn retire(&self, state: &mut State, process: usize, round: usize) {
        let mut batch = state.processes[process].batches.remove(round);
        batch.writes.retain(|write| {
            let Some((late, until)) = write.retires else {
                return true;
            };
            let runner = &mut state.runners[late];
            runner.dead |= runner.until == until && until <= state.now;
            let dead = runner.dead;
            if !dead && let Some(job) = &mut state.local(process, write.key).job {
                job.read = true;
            }
            dead
        });
        batch.sent = state.now;
        if !batch.writes.is_empty() {
            state.processes[process].batches.push(batch);
        }
    }

    /// The step that a job stands for.
    pub(super) fn step(&self, process: usize, runner: usize, ask: Ask) -> Step {
        match ask {
            Ask::Claim { nonce, .. } => Step::Claim(self.claim(process, runner).nonce(nonce)),
            Ask::Report { token, ending } => report(token, ending),
            Ask::Attempt { alone, ending } => {
                let Alone { grant, at } = alone;
                // What was seen decides nothing.
                let seen = Seen::new(time(at), None);
                let (claim, report) = (self.claim(process, runner), report(grant.token, ending));
                Step::Attempt(Box::new(WholeAttempt::new(claim, grant, seen, report)))
            }
            Ask::Sweep => Step::Sweep,
        }
    }

    pub(super) fn claim(&self, process: usize, runner: usize) -> Claim {
        let budget = Budget::new(self.scene.retries, ticks(TTL));
        let claim = Claim::new(owner(process, runner), *b"1", budget, ticks(LEASE));
        claim.fingerprint(Fingerprint([1; 16]))
    }
}

pub(super) fn id(key: usize) -> RecordId {
    RecordId::new("h", key.to_string())
}

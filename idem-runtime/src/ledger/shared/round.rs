//! One round of steps: the rows of a batch are read where that is needed, its steps are
//! decided, what changes is written at once, and all are answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use super::core::{Core, MOST_OVERTAKEN};
use super::job::{InDoubt, StepJob};
use super::numbers::is_old;
use super::plan::{Basis, Plan, Planned};
use super::store::{Owner, Row, Runner, Store, StoreError, StoreErrorKind};
use crate::ledger::metrics;
use crate::protocol::{Record, Reply};

pub(super) struct Round<'c, S> {
    core: &'c Arc<Core<S>>,
    runner: Runner,
    /// When the oldest of its numbers was asked for, by the clock.
    numbered: Timestamp,
    /// The jobs that were not answered.
    again: Vec<StepJob>,
    /// What is wrong with the store.
    trouble: Option<StoreError>,
}

/// A job whose row is known: what is there, or assumed.
type Ready = (StepJob, Option<Row>);
type Pending = (StepJob, Box<Planned>);

/// What a round leaves.
pub(super) struct Left {
    /// The jobs to decide again.
    pub(super) again: Vec<StepJob>,
    /// What was wrong with the store.
    pub(super) trouble: Option<StoreError>,
}

impl<'c, S: Store> Round<'c, S> {
    pub(super) async fn run(core: &'c Arc<Core<S>>, jobs: Vec<StepJob>) -> Left {
        let runner = match core.living().await {
            Ok(runner) => runner,
            Err(error) => {
                return Left {
                    again: jobs,
                    trouble: Some(error),
                };
            }
        };
        let mut round = Self {
            core,
            runner,
            numbered: Timestamp::MAX,
            again: Vec::new(),
            trouble: None,
        };
        let (ready, now) = round.read(jobs).await;
        let pending = round.decide(ready, now).await;
        round.write(pending).await;
        Left {
            again: round.again,
            trouble: round.trouble,
        }
    }

    /// Reads the rows that are not known.
    async fn read(&mut self, jobs: Vec<StepJob>) -> (Vec<Ready>, Timestamp) {
        let (mut ready, mut unknown) = (Vec::with_capacity(jobs.len()), Vec::new());
        for job in jobs {
            match self.known(&job) {
                Some(row) => ready.push((job, row)),
                None => unknown.push(job),
            }
        }
        if unknown.is_empty() {
            return (ready, self.core.now());
        }
        let ids: Vec<_> = unknown.iter().map(|job| job.id.clone()).collect();
        let asked = self.core.clock().now();
        let rows = match self.core.ask(self.core.store.read(ids)).await {
            Ok(rows) if rows.rows.len() == unknown.len() => rows,
            answer => {
                let other = StoreError::lost("it answered another read");
                self.trouble = Some(answer.err().unwrap_or(other));
                self.again.append(&mut unknown);
                return (ready, self.core.now());
            }
        };
        self.core.told(rows.now, asked);
        for (mut job, row) in unknown.into_iter().zip(rows.rows) {
            if job.is_guessed() {
                self.core.guess.met(!matches!(row, Ok(None)));
                job.reads = true;
            }
            match row {
                Ok(row) => ready.extend(self.settle_doubt(job, row)),
                Err(unreadable) => job.answer(Err(unreadable)),
            }
        }
        (ready, rows.now)
    }

    /// Returns the row of a job if it need not be read.
    fn known(&self, job: &StepJob) -> Option<Option<Row>> {
        if job.reads {
            return None;
        }
        if let Some(token) = job.token() {
            let known = self.core.own.known(&job.id, token)?;
            return Some(Some(known.row(&self.runner)));
        }
        // If there is a row after all, the write does not take place.
        let is_new = job.is_guessed() && !self.core.guess.row() && !self.core.own.may_hold(&job.id);
        is_new.then_some(None)
    }

    /// Answers a job if its row shows that a write of it took place whose answer was lost.
    fn settle_doubt(&mut self, job: StepJob, row: Option<Row>) -> Option<Ready> {
        let is_ours = row.as_ref().is_some_and(
            |row| matches!(&row.owner, Owner::Until(runner, _) if *runner == self.runner),
        );
        match job.took_place(row.as_ref()).cloned() {
            // What was granted to a life that has ended is claimed again.
            Some(Reply::Run(_)) if !is_ours => Some((job, row)),
            Some(reply) => {
                let (version, record) = row.map_or((0, None), |row| (row.version, row.record));
                let running = record.filter(|_| is_ours);
                self.took_place(job, reply, running, version);
                None
            }
            None => Some((job, row)),
        }
    }

    async fn decide(&mut self, ready: Vec<Ready>, now: Timestamp) -> Vec<Pending> {
        let core = self.core;
        let mut pending = Vec::with_capacity(ready.len());
        let mut late = HashSet::<_, RandomState>::default();
        for (mut job, row) in ready {
            let version = row.as_ref().map(|row| row.version);
            match self.plan(&job, row.as_ref(), now).await {
                Ok(Plan::Keep(_)) if job.may_take_place(version) => {
                    job.give_up(&StoreError::lost(
                        "an earlier write of it may take place yet",
                    ));
                }
                Ok(Plan::Keep(reply)) => {
                    if let Some(token) = job.token() {
                        core.own.lost(&job.id, token);
                    }
                    job.answer(Ok(reply));
                }
                Ok(Plan::Write(planned)) => pending.push((job, planned)),
                Ok(Plan::Retire(runner, until)) => {
                    late.insert((runner, until));
                    self.overtaken(job);
                }
                Err(error) if error.is_trouble() => {
                    job.reads = true;
                    self.trouble = Some(error);
                    self.again.push(job);
                }
                Err(error) => job.answer(Err(error.of_a_write())),
            }
        }
        for (runner, until) in late {
            // Whether it is dead now, the next read tells.
            if let Err(error) = core.ask(core.store.retire(&runner, Some(until))).await {
                self.trouble = Some(error);
            }
        }
        pending
    }

    /// Decides a job with a number that is larger than the row's version.
    async fn plan(
        &mut self,
        job: &StepJob,
        row: Option<&Row>,
        now: Timestamp,
    ) -> Result<Plan, StoreError> {
        let (core, id, step) = (self.core, &job.id, &job.step);
        let runner = Runner::clone(&self.runner);
        let basis = |number| Basis {
            runner: &runner,
            now,
            number,
        };
        let above = row.map_or(0, |row| row.version);
        let number = match core.numbers.take(above, core.clock().now()) {
            Some(number) => number,
            // Most rows that another process wrote just now are only looked at.
            None => match core.plan(id, step, row, &basis(above + 1)).await? {
                Plan::Write(_) => core.number(above).await?,
                plan => return Ok(plan),
            },
        };
        self.numbered = self.numbered.min(number.since);
        core.plan(id, step, row, &basis(number.number)).await
    }

    /// Writes a batch. If one of its writes is bad, it is halved until that one is alone.
    async fn write(&mut self, pending: Vec<Pending>) {
        // A process that stood still meanwhile must not claim with an old number.
        if is_old(self.numbered, self.core.clock().now()) {
            self.again.extend(pending.into_iter().map(|(job, _)| job));
            return;
        }
        let mut batches = vec![pending];
        while let Some(mut batch) = batches.pop() {
            if batch.is_empty() {
                continue;
            }
            let writes = batch.iter().map(|(_, planned)| planned.write.clone());
            let (asked, started) = (self.core.clock().now(), Instant::now());
            let writes = self.core.store.write(&self.runner, writes.collect());
            let answer = self.core.ask(writes).await.and_then(|written| {
                let ours = |version: &u64| {
                    let mut writes = batch.iter().map(|(_, planned)| &planned.write);
                    writes.any(|write| write.version == *version)
                };
                if written.versions.iter().all(ours) {
                    return Ok(written);
                }
                Err(StoreError::lost("it answered another batch"))
            });
            match answer {
                Ok(written) => {
                    metrics::commit(started.elapsed(), batch.len());
                    self.core.told(written.now, asked);
                    for (job, planned) in batch {
                        let version = planned.write.version;
                        let took_place = written.versions.contains(&version);
                        if job.is_guessed() {
                            self.core.guess.met(!took_place);
                        }
                        if took_place {
                            self.took_place(job, planned.reply, planned.running, version);
                        } else {
                            self.overtaken(job);
                        }
                    }
                }
                Err(error) if error.kind == StoreErrorKind::Refused => {
                    if batch.len() > 1 {
                        let half = batch.split_off(batch.len() / 2);
                        batches.extend([half, batch]);
                    } else if let Some((job, _)) = batch.pop() {
                        self.refused(job, error);
                    }
                }
                Err(error) => {
                    for (mut job, planned) in batch {
                        if error.kind == StoreErrorKind::Lost {
                            self.core.own.doubt(&job.id);
                            job.in_doubt.push(InDoubt {
                                version: planned.write.version,
                                expected: planned.write.expected,
                                reply: planned.reply,
                            });
                        }
                        job.reads |= error.kind != StoreErrorKind::Away;
                        self.again.push(job);
                    }
                    if error.kind == StoreErrorKind::RunnerDead {
                        self.core.died(&self.runner);
                    } else {
                        self.trouble = Some(error);
                    }
                }
            }
        }
    }

    fn took_place(
        &mut self,
        mut job: StepJob,
        reply: Reply,
        running: Option<Record>,
        version: u64,
    ) {
        let life = self.core.life.lock();
        let is_current = life.runner == self.runner;
        if is_current {
            self.core.own.wrote(&job.id, running, version);
        }
        drop(life);
        self.core.waiters.wake(&job.id);
        if !is_current && matches!(reply, Reply::Run(_)) {
            // The claim was lost before its body could start: it is claimed again.
            job.reads = true;
            job.in_doubt.clear();
            self.again.push(job);
        } else {
            job.answer(Ok(reply));
        }
    }

    fn overtaken(&mut self, mut job: StepJob) {
        metrics::overtaken();
        self.core.own.doubt(&job.id);
        job.reads = true;
        job.overtaken += 1;
        if job.overtaken > MOST_OVERTAKEN {
            job.give_up(&StoreError::lost(
                "other processes changed the record each time",
            ));
        } else {
            self.again.push(job);
        }
    }

    fn refused(&mut self, job: StepJob, error: StoreError) {
        if job.in_doubt.is_empty() {
            job.answer(Err(error.of_a_write()));
        } else {
            job.give_up(&error);
        }
    }
}

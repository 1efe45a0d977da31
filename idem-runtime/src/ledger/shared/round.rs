//! One round of the committer: the rows of a batch are read where that is needed, its steps are
//! decided, what changes is written at once, and all are answered.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use super::core::Core;
use super::job::{InDoubt, StepJob};
use super::plan::{Basis, Plan, Planned};
use super::store::{Owner, Row, RowChange, Runner, Store, StoreError, StoreErrorKind};
use crate::protocol::{Reply, Step};

/// How often a step may be overtaken by other processes.
const MOST_OVERTAKEN: u32 = 20;

pub(super) struct Round<'c, S> {
    core: &'c Core<S>,
    runner: Runner,
    era: u64,
    /// The jobs that were not answered.
    again: Vec<StepJob>,
    /// What is wrong with the store.
    trouble: Option<StoreError>,
}

/// A job whose row is known: what is there, or assumed.
type Ready = (StepJob, Option<Row>);
type Pending = (StepJob, Planned);

/// The jobs to decide again, and what was wrong with the store.
pub(super) type Left = (Vec<StepJob>, Option<StoreError>);

impl<'c, S: Store> Round<'c, S> {
    pub(super) async fn run(core: &'c Core<S>, jobs: Vec<StepJob>) -> Left {
        let (runner, era) = match core.living().await {
            Ok(living) => living,
            Err(error) => return (jobs, Some(error)),
        };
        let mut round = Self {
            core,
            runner,
            era,
            again: Vec::new(),
            trouble: None,
        };
        let (ready, now) = round.read(jobs).await;
        let pending = round.decide(ready, now).await;
        round.write(pending).await;
        (round.again, round.trouble)
    }

    /// Reads the rows that are not known.
    async fn read(&mut self, jobs: Vec<StepJob>) -> (Vec<Ready>, Timestamp) {
        let (mut ready, mut unknown) = (Vec::new(), Vec::new());
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
        let rows = match self.core.ask(self.core.store.read(ids)).await {
            Ok(rows) if rows.rows.len() == unknown.len() => rows,
            answer => {
                let other = StoreError::lost("it answered another read");
                self.trouble = Some(answer.err().unwrap_or(other));
                self.again.append(&mut unknown);
                return (ready, self.core.now());
            }
        };
        self.core.told(rows.now);
        for (job, row) in unknown.into_iter().zip(rows.rows) {
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
            return Some(Some(Row {
                version: known.version,
                record: Some(known.record),
                due: None,
                owner: Owner::Until(Runner::clone(&self.runner), Timestamp::MAX),
            }));
        }
        // Most keys are new. If this one is not, the write does not take place.
        let is_first = matches!(job.step, Step::Claim(_)) && !self.core.own.may_hold(&job.id);
        is_first.then_some(None)
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
        let mut pending = Vec::new();
        if ready.is_empty() {
            return pending;
        }
        let mut late = HashSet::<_, RandomState>::default();
        let versions = ready.iter().filter_map(|(_, row)| row.as_ref());
        let above = versions.map(|row| row.version).max().unwrap_or(0);
        let mut numbers = core.numbers.lock().await;
        if let Err(error) = numbers.ensure(core, ready.len(), above).await {
            self.trouble = Some(error);
            self.again.extend(ready.into_iter().map(|(job, _)| job));
            return pending;
        }
        for (mut job, row) in ready {
            let basis = Basis {
                runner: &self.runner,
                now,
                number: numbers.peek(),
            };
            match core.plan(&job.id, &job.step, row, &basis).await {
                Ok(Plan::Keep(reply)) => job.answer(Ok(reply)),
                Ok(Plan::Write(planned)) => {
                    numbers.take();
                    pending.push((job, *planned));
                }
                Ok(Plan::Retire(runner, until)) => {
                    late.insert((runner, until));
                    job.reads = true;
                    self.again.push(job);
                }
                Err(error) if error.is_trouble() => {
                    self.trouble = Some(error);
                    self.again.push(job);
                }
                Err(error) => job.answer(Err(error.into_ledger_error())),
            }
        }
        drop(numbers);
        for (runner, until) in late {
            // Whether it is dead now, the next read tells.
            if let Err(error) = core.ask(core.store.retire(&runner, Some(until))).await {
                self.trouble = Some(error);
            }
        }
        pending
    }

    /// Writes a batch. If one of its writes is bad, it is halved until that one is alone.
    async fn write(&mut self, pending: Vec<Pending>) {
        let mut batches = vec![pending];
        while let Some(mut batch) = batches.pop() {
            if batch.is_empty() {
                continue;
            }
            let writes = batch.iter().map(|(_, planned)| planned.write.clone());
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
                    self.core.told(written.now);
                    for (job, planned) in batch {
                        let version = planned.write.version;
                        if written.versions.contains(&version) {
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
                                removes: planned.write.change == RowChange::Remove,
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
        running: Option<crate::protocol::Record>,
        version: u64,
    ) {
        let life = self.core.life.lock();
        let is_current = life.era == self.era;
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
            job.answer(Err(error.into_ledger_error()));
        } else {
            job.give_up(&error);
        }
    }
}

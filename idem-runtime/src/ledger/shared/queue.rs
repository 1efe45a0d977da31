//! What waits for the committer.

use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::Notify;

use jiff::Timestamp;

use super::core::DEADLINE;
use super::job::{Job, NotesJob, StepJob};
use crate::clock::{Clock, until};
use crate::ledger::LedgerError;
use crate::protocol::RecordId;

const JOBS_A_BATCH: usize = 256;
const BYTES_A_BATCH: usize = 4 << 20;

/// Jobs in the order in which they were asked for.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// The records of steps that callers make themselves.
    alone: Vec<RecordId>,
    /// The records of the committer's rounds.
    rounds: HashSet<RecordId, RandomState>,
    closed: bool,
    ended: bool,
}

/// A step that a caller makes itself. What is asked for later waits for its end: steps of its record,
/// and notes.
pub(super) struct Alone<'q> {
    queue: &'q Queue,
    id: RecordId,
}

/// What the committer does next.
pub(super) enum Batch {
    /// Steps of different records, none of which is under way.
    Steps(Vec<StepJob>),
    /// Notes, before which nothing waits.
    Notes(NotesJob),
}

impl Queue {
    /// Adds a job, or refuses it when the ledger was closed.
    pub(super) fn push(&self, job: Job) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return job.refuse(LedgerError::Closed);
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.bell.notify_one();
    }

    /// Puts jobs back to where they came from: before all that wait.
    pub(super) fn put_back(&self, jobs: impl DoubleEndedIterator<Item = Job>) {
        let mut waiting = self.waiting.lock();
        if waiting.ended {
            return jobs.for_each(|job| job.refuse(LedgerError::Closed));
        }
        jobs.rev().for_each(|job| waiting.jobs.push_front(job));
    }

    /// Lets a caller make a step itself, unless something waits.
    pub(super) fn alone(&self, id: &RecordId) -> Option<Alone<'_>> {
        let mut waiting = self.waiting.lock();
        if waiting.closed || !waiting.jobs.is_empty() || waiting.is_under_way(id) {
            return None;
        }
        waiting.alone.push(id.clone());
        let id = id.clone();
        Some(Alone { queue: self, id })
    }

    /// Puts the jobs back that a round of the committer leaves, and lets others of its records follow.
    pub(super) fn round_ended(&self, ids: &[RecordId], again: Vec<StepJob>) {
        self.put_back(again.into_iter().map(Job::Step));
        let mut waiting = self.waiting.lock();
        for id in ids {
            waiting.rounds.remove(id);
        }
    }

    /// Returns whether no caller makes a step itself.
    pub(super) fn is_none_alone(&self) -> bool {
        self.waiting.lock().alone.is_empty()
    }

    /// Waits for jobs and takes a batch of them; nothing once the queue is closed and empty.
    pub(super) async fn take(&self, clock: &dyn Clock) -> Option<Batch> {
        loop {
            let bell = self.bell.notified();
            let is_empty = {
                let mut waiting = self.waiting.lock();
                if let Some(batch) = waiting.take(clock.now()) {
                    return Some(batch);
                }
                if waiting.closed && waiting.jobs.is_empty() {
                    return None;
                }
                waiting.jobs.is_empty()
            };
            if is_empty {
                bell.await;
            } else {
                // The runtime of a caller that makes its step itself may stand still.
                tokio::select! {
                    () = bell => {}
                    () = clock.sleep(DEADLINE) => {}
                }
            }
        }
    }

    /// No more jobs; those that wait are still served.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.bell.notify_one();
    }

    /// Refuses all jobs, those that wait included.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting.lock();
        (waiting.closed, waiting.ended) = (true, true);
        waiting
            .jobs
            .drain(..)
            .for_each(|job| job.refuse(LedgerError::Closed));
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock();
        waiting.alone.retain(|id| *id != self.id);
        // The committer's thread is woken for nothing less.
        if !waiting.jobs.is_empty() {
            self.queue.bell.notify_one();
        }
    }
}

impl Waiting {
    fn is_under_way(&self, id: &RecordId) -> bool {
        self.alone.contains(id) || self.rounds.contains(id)
    }

    /// A second job of a record stays for a later batch, and so does all behind notes. What waits for a
    /// caller does so for as long as a store may take to answer.
    fn take(&mut self, now: Timestamp) -> Option<Batch> {
        let mut ids = HashSet::<_, RandomState>::default();
        let (mut batch, mut stay, mut bytes) = (Vec::new(), VecDeque::new(), 0);
        let mut notes_now = None;
        let is_patient = |since| until(now, since) < DEADLINE;
        while let Some(job) = self.jobs.pop_front() {
            match job {
                Job::Step(step) if self.alone.contains(&step.id) && is_patient(step.since) => {
                    stay.push_back(Job::Step(step));
                }
                Job::Step(step) if self.rounds.contains(&step.id) => {
                    stay.push_back(Job::Step(step));
                }
                // They come after all that was asked for before them.
                Job::Notes(notes) if !self.rounds.is_empty() => {
                    stay.push_back(Job::Notes(notes));
                    break;
                }
                Job::Notes(notes) if !self.alone.is_empty() && is_patient(notes.since) => {
                    stay.push_back(Job::Notes(notes));
                }
                Job::Notes(notes) if batch.is_empty() => {
                    notes_now = Some(Batch::Notes(notes));
                    break;
                }
                Job::Step(step) if bytes == 0 || bytes + step.weight() <= BYTES_A_BATCH => {
                    if ids.insert(step.id.clone()) {
                        bytes += step.weight();
                        batch.push(step);
                    } else {
                        stay.push_back(Job::Step(step));
                    }
                }
                other => {
                    stay.push_back(other);
                    break;
                }
            }
            // What is looked at in vain is looked at again: not all of a long queue each time.
            if batch.len() == JOBS_A_BATCH || stay.len() == JOBS_A_BATCH {
                break;
            }
        }
        while let Some(job) = stay.pop_back() {
            self.jobs.push_front(job);
        }
        self.rounds.extend(ids);
        notes_now.or_else(|| (!batch.is_empty()).then_some(Batch::Steps(batch)))
    }
}

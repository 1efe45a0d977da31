//! What waits for the committer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::job::Job;
use crate::ledger::LedgerError;

/// A group stays small enough for sled to write it in a few milliseconds.
pub(super) const JOBS_A_GROUP: usize = 1024;
const BYTES_A_GROUP: usize = 4 << 20;
/// A larger group costs hardly less a job, so it is not waited for.
const WORTH_A_WAIT: usize = 64;
/// A group waits for those that may join it for this part of the time that the last one took.
const DELAY: u32 = 8;
/// And no longer than this.
const LONGEST_DELAY: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// The committer sleeps until there are so many.
    wanted: usize,
    /// How many were in the last group, and when it was taken.
    last: Option<(usize, Instant)>,
    /// The error for jobs that come now.
    closed: Option<LedgerError>,
}

impl Queue {
    /// Adds a job, or refuses it when the ledger was closed.
    pub(super) fn push(&self, job: Job) {
        let mut waiting = self.waiting.lock();
        if let Some(closed) = &waiting.closed {
            return job.refuse(closed);
        }
        waiting.jobs.push_back(job);
        let enough = waiting.jobs.len() >= waiting.wanted;
        drop(waiting);
        if enough {
            self.bell.notify_one();
        }
    }

    /// Waits for jobs and takes a group of them; nothing once the queue is closed and empty.
    ///
    /// The callers of the last group were answered just now, and most have a next step: what comes
    /// of them within the delay joins those that wait already, instead of missing the group by a
    /// moment (`commit_delay`, as PostgreSQL has it).
    pub(super) fn wait(&self) -> Option<Vec<Job>> {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        let (answered, taken) = waiting.last.unwrap_or((0, now));
        let until = now + ((now - taken) / DELAY).min(LONGEST_DELAY);
        let all = (waiting.jobs.len() + answered).min(WORTH_A_WAIT);
        while waiting.jobs.is_empty() {
            if waiting.closed.is_some() {
                return None;
            }
            self.bell.wait(&mut waiting);
        }
        self.gather(&mut waiting, all, until);
        let mut bytes = 0;
        let fits = waiting.jobs.iter().take(JOBS_A_GROUP).take_while(|job| {
            let before = bytes;
            bytes += job.weight();
            before == 0 || bytes <= BYTES_A_GROUP
        });
        let count = fits.count();
        waiting.last = Some((count, Instant::now()));
        Some(waiting.jobs.drain(..count).collect())
    }

    fn gather(&self, waiting: &mut MutexGuard<'_, Waiting>, all: usize, until: Instant) {
        waiting.wanted = all;
        while waiting.jobs.len() < all && waiting.closed.is_none() {
            if self.bell.wait_until(waiting, until).timed_out() {
                break;
            }
        }
        waiting.wanted = 0;
    }

    /// No more jobs; those that wait are still served.
    pub(super) fn close(&self) {
        self.waiting
            .lock()
            .closed
            .get_or_insert(LedgerError::Closed);
        self.bell.notify_one();
    }

    /// Refuses all jobs, those that wait included.
    pub(super) fn fail(&self, error: &LedgerError) {
        let mut waiting = self.waiting.lock();
        waiting.closed = Some(error.clone());
        waiting.jobs.drain(..).for_each(|job| job.refuse(error));
    }
}

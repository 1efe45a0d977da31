//! What waits for the committer.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::job::Job;
use crate::ledger::LedgerError;

/// A group stays small enough for sled to write it in a few milliseconds.
pub(super) const JOBS_A_GROUP: usize = 1024;
const BYTES_A_GROUP: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// What whoever comes now is told.
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
        drop(waiting);
        self.bell.notify_one();
    }

    /// Waits for jobs and takes a group of them; nothing once the queue is closed and empty.
    pub(super) fn wait(&self) -> Option<Vec<Job>> {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed.is_some() {
                return None;
            }
            self.bell.wait(&mut waiting);
        }
        let mut bytes = 0;
        let fits = waiting.jobs.iter().take(JOBS_A_GROUP).take_while(|job| {
            let before = bytes;
            bytes += job.weight();
            before == 0 || bytes <= BYTES_A_GROUP
        });
        let count = fits.count();
        Some(waiting.jobs.drain(..count).collect())
    }

    /// No more jobs; those that wait are still served.
    pub(super) fn close(&self) {
        self.waiting.lock().closed.get_or_insert(LedgerError::Closed);
        self.bell.notify_one();
    }

    /// No more jobs, and nobody to serve those that wait.
    pub(super) fn fail(&self, error: &LedgerError) {
        let mut waiting = self.waiting.lock();
        waiting.closed = Some(error.clone());
        waiting.jobs.drain(..).for_each(|job| job.refuse(error));
    }
}

//! The bulk jobs of one ledger, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};
use uuid::Uuid;

use super::BulkJob;
use super::job::StoredJob;
use crate::service::ServiceError;

/// All bulk jobs that are remembered.
#[derive(Default)]
pub(in crate::service) struct Registry {
    jobs: parking_lot::Mutex<BTreeMap<Uuid, Entry>>,
    /// Set once the jobs in the ledger have been read.
    pub(super) loaded: OnceCell<()>,
}

/// A job, and its state as it was stored last, which can be read while the job is locked.
#[derive(Clone)]
struct Entry {
    job: Arc<Mutex<StoredJob>>,
    shown: Arc<parking_lot::Mutex<BulkJob>>,
}

/// A locked job; its state is shown when the lock is released.
pub(super) struct JobGuard {
    job: OwnedMutexGuard<StoredJob>,
    shown: Arc<parking_lot::Mutex<BulkJob>>,
}

impl std::ops::Deref for JobGuard {
    type Target = StoredJob;
    fn deref(&self) -> &StoredJob {
        &self.job
    }
}

impl std::ops::DerefMut for JobGuard {
    fn deref_mut(&mut self) -> &mut StoredJob {
        &mut self.job
    }
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        self.shown.lock().clone_from(&self.job.bulk);
    }
}

impl Registry {
    /// Waits for a job's lock.
    pub(super) async fn lock(&self, id: Uuid) -> Result<JobGuard, ServiceError> {
        let entry = self
            .jobs
            .lock()
            .get(&id)
            .cloned()
            .ok_or(ServiceError::NoSuchBulk(id))?;
        Ok(JobGuard {
            job: entry.job.lock_owned().await,
            shown: entry.shown,
        })
    }

    pub(super) fn put(&self, job: StoredJob) {
        let shown = Arc::new(parking_lot::Mutex::new(job.bulk.clone()));
        let id = job.bulk.id;
        let job = Arc::new(Mutex::new(job));
        self.jobs.lock().insert(id, Entry { job, shown });
    }

    pub(super) fn remove(&self, id: Uuid) {
        self.jobs.lock().remove(&id);
    }

    pub(super) fn get(&self, id: Uuid) -> Option<BulkJob> {
        let jobs = self.jobs.lock();
        jobs.get(&id).map(|entry| entry.shown.lock().clone())
    }

    /// Returns all jobs, newest first.
    pub(super) fn all(&self) -> Vec<BulkJob> {
        let jobs = self.jobs.lock();
        let newest_first = jobs.values().rev();
        newest_first
            .map(|entry| entry.shown.lock().clone())
            .collect()
    }
}

//! The bulk jobs that this replica works on, or stands by for.

use std::collections::HashMap;
use std::sync::Arc;

use idem_runtime::Idem;
use uuid::Uuid;

use crate::duty::Duty;

/// The seats of the workers that run here.
#[derive(Default)]
pub(in crate::service) struct Seats(parking_lot::Mutex<HashMap<Uuid, Arc<Seat>>>);

/// A worker's seat at a job. The job itself is in the notes.
pub(super) struct Seat {
    /// Held by the one replica that works on the job.
    pub(super) duty: Duty,
    /// Held during a batch, and by a cancellation.
    pub(super) batch: tokio::sync::Mutex<()>,
}

impl Seat {
    pub(super) fn new(idem: &Idem, job: Uuid) -> Self {
        Self {
            duty: Duty::new(idem, &format!("bulk/{job}")),
            batch: tokio::sync::Mutex::default(),
        }
    }
}

impl Seats {
    /// Adds the seat of a new worker.
    pub(super) fn add(&self, idem: &Idem, job: Uuid) -> Arc<Seat> {
        let seat = Arc::new(Seat::new(idem, job));
        self.0.lock().insert(job, Arc::clone(&seat));
        seat
    }

    pub(super) fn get(&self, job: Uuid) -> Option<Arc<Seat>> {
        self.0.lock().get(&job).cloned()
    }

    pub(super) fn remove(&self, job: Uuid) {
        self.0.lock().remove(&job);
    }
}

//! The cancellation of a bulk job, whichever replica works on it.

use std::time::Duration;

use uuid::Uuid;

use super::job::{Cancellation, StoredJob};
use super::seats::Seat;
use super::{BulkJob, BulkState};
use crate::service::{Inner, ServiceError};

/// The time between two looks at a job whose batch another replica finishes.
const LOOK: Duration = Duration::from_millis(100);

impl Inner {
    /// Cancels a job. The batch in progress is finished first, so that a cancelled job stands still.
    pub(in crate::service) async fn cancel_bulk(
        &self,
        who: &str,
        id: Uuid,
        why: Option<&str>,
    ) -> Result<BulkJob, ServiceError> {
        let ours = Cancellation {
            who: who.to_owned(),
            why: why.map(str::to_owned),
        };
        let Some(seat) = self.seats.get(id) else {
            let visitor = Seat::new(&self.idem, id);
            let cancelled = self.cancel_from(&visitor, id, ours).await;
            visitor.duty.release().await;
            return cancelled;
        };
        let _batch = seat.batch.lock().await;
        self.cancel_from(&seat, id, ours).await
    }

    async fn cancel_from(
        &self,
        seat: &Seat,
        id: Uuid,
        ours: Cancellation,
    ) -> Result<BulkJob, ServiceError> {
        let mut requested = false;
        loop {
            let job = self.stored_job(id).await?;
            let mut job = job.ok_or(ServiceError::NoSuchBulk(id))?;
            match job.bulk.state {
                BulkState::Running => {}
                // The replica that works on it has done as it was asked.
                BulkState::Cancelled if requested => return Ok(job.bulk),
                _ => return Err(ServiceError::BulkEnded(id)),
            }
            if job.batch.is_empty() {
                if self.end_cancelled(&mut job, &ours).await? {
                    return Ok(job.bulk);
                }
            } else if let Some(guard) = seat.duty.hold().await? {
                // A stop or an error interrupted it, and nothing would settle it later.
                self.settle(&mut job, &guard).await?;
            } else if job.cancel.is_none() {
                job.cancel = Some(ours.clone());
                requested = self.store_job(&mut job, None).await?;
            } else {
                self.idem.clock().sleep(LOOK).await;
            }
        }
    }

    /// Ends a job, with its entry in the audit log. Returns whether it did: not if its note has
    /// changed.
    pub(super) async fn end_cancelled(
        &self,
        job: &mut StoredJob,
        by: &Cancellation,
    ) -> Result<bool, ServiceError> {
        let expected = [job.unchanged()];
        job.cancel = None;
        job.bulk.end(BulkState::Cancelled, self.idem.clock().now());
        let (audited, changes) = (job.bulk.asked.action.audited_cancel(), vec![job.note()?]);
        let (who, why) = (by.who.as_str(), by.why.clone());
        self.write_audited(audited, who, why, job.bulk.id, changes, &expected)
            .await
    }
}

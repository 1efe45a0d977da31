//! The worker of a bulk job: it handles letters in batches, newest first, and stores each batch
//! before and after it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::ledger::LedgerError;
use idem_runtime::notes::ExpectedNote;
use idem_runtime::{DeadLetter, DeadLetterId, LetterState};
use uuid::Uuid;

use super::BulkState;
use super::job::{Next, StoredJob};
use super::seats::Seat;
use crate::service::audit::{AuditEntry, Outcome};
use crate::service::audit_log::Draft;
use crate::service::letter_action::outcome;
use crate::service::{Inner, ServiceError};

/// The maximum number of letters in a batch.
const BATCH: usize = 16;
/// The pause after an error of the ledger.
const PAUSE: Duration = Duration::from_secs(5);

/// The time between two looks at a job that another replica works on.
const STANDBY: Duration = Duration::from_secs(5);

impl Inner {
    /// Works on a bulk job, or stands by, until it has ended or the service is closed.
    pub(super) async fn work(weak: Weak<Self>, id: Uuid, seat: Arc<Seat>) {
        let working = async {
            loop {
                let Some(inner) = weak.upgrade() else { return };
                let pause = match inner.handle_batch(id, &seat).await {
                    Ok(Some(pause)) => pause,
                    Ok(None) => return,
                    Err(error) if error.is_closed() => return,
                    Err(error) => {
                        tracing::warn!(bulk = %id, error = format_args!("{error:#}"), "a bulk job is paused by an error; trying again");
                        PAUSE
                    }
                };
                let clock = inner.idem.clock();
                // The pause must not keep the Idem open.
                drop(inner);
                clock.sleep(pause).await;
            }
        };
        seat.duty.during(working).await;
        seat.duty.release().await;
        if let Some(inner) = weak.upgrade() {
            inner.seats.remove(id);
        }
    }

    /// Handles one batch; returns the pause before the next one, or `None` when the job has ended.
    async fn handle_batch(
        self: &Arc<Self>,
        id: Uuid,
        seat: &Seat,
    ) -> Result<Option<Duration>, ServiceError> {
        // A cancellation waits for the batch, so that a cancelled job stands still.
        let _batch = seat.batch.lock().await;
        let is_running = |job: &StoredJob| job.bulk.state == BulkState::Running;
        let Some(mut job) = self.stored_job(id).await?.filter(is_running) else {
            return Ok(None);
        };
        let Some(guard) = seat.duty.hold().await? else {
            return Ok(Some(STANDBY));
        };
        self.wait_for_index().await?;
        let begun = self.idem.clock().now();
        if !job.batch.is_empty() {
            tracing::info!(bulk = %id, "continuing a bulk job");
            if !self.settle(&mut job, &guard).await? {
                return Ok(Some(Duration::ZERO));
            }
        }
        if let Some(by) = job.cancel.clone() {
            self.end_cancelled(&mut job, &by).await?;
            return Ok(Some(Duration::ZERO));
        }
        let rate = job.bulk.asked.rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 16"
        )]
        let most = (rate / 10.0).clamp(1.0, BATCH as f64) as usize;
        let ids = match job.next(self, most).await? {
            Next::Letters(ids) => ids,
            Next::SearchOn => {
                self.store_job(&mut job, Some(&guard)).await?;
                return Ok(Some(Duration::ZERO));
            }
            Next::Nothing => {
                let ended = self.finish(job, &guard).await?;
                return Ok((!ended).then_some(Duration::ZERO));
            }
        };
        let taken = ids.len();
        if !self.act_on_batch(job, ids, &guard).await? {
            return Ok(Some(Duration::ZERO));
        }
        let due = Duration::from_secs_f64(taken as f64 / rate);
        let took =
            Duration::try_from(self.idem.clock().now().duration_since(begun)).unwrap_or_default();
        Ok(Some(due.saturating_sub(took)))
    }

    /// Ends a job that has no letters left. Returns whether it did: not if its note has changed.
    async fn finish(&self, mut job: StoredJob, guard: &ExpectedNote) -> Result<bool, ServiceError> {
        let bulk = &mut job.bulk;
        // Letters older than the index were not counted at the start.
        bulk.total = bulk.total.max(bulk.done + bulk.failed + bulk.skipped);
        // Letters that were closed by another action before their batch were never met.
        bulk.skipped = bulk.total - bulk.done - bulk.failed;
        bulk.at_least = false;
        bulk.end(BulkState::Finished, self.idem.clock().now());
        self.store_job(&mut job, Some(guard)).await
    }

    /// Stores a batch, acts on it, and counts it. Returns whether it was begun: not if the job's
    /// note has changed, or the job has passed on.
    async fn act_on_batch(
        &self,
        mut job: StoredJob,
        ids: Vec<DeadLetterId>,
        guard: &ExpectedNote,
    ) -> Result<bool, ServiceError> {
        let (id, who) = (job.bulk.id, job.bulk.who.clone());
        let (action, why) = (job.bulk.asked.action, job.bulk.asked.why.clone());
        // Ids are in one order, so that two batches never wait for each other.
        let mut locks = Vec::new();
        let mut letters = Vec::new();
        for id in ids {
            locks.push(self.locks.lock(id).await);
            letters.extend(self.open_letter(&mut job, id).await?);
        }
        let drafts: Vec<_> = letters
            .iter()
            .map(|letter| Draft {
                bulk: Some(id),
                ..Draft::new(&who, Some(&why), letter)
            })
            .collect();
        let audited = action.letter_action().audited();
        let expected = [job.unchanged(), guard.clone()];
        let begun = self
            .audit_log
            .begin_if(audited, &drafts, &expected, |entries| {
                job.batch = letters
                    .iter()
                    .zip(entries)
                    .map(|(letter, entry)| (letter.id, entry.id))
                    .collect();
                Ok(vec![job.note()?])
            })
            .await?;
        let Some(mut entries) = begun else {
            return Ok(false);
        };
        // The ledger has this batch now: after an error below, `settle` decides about it.
        job.was_stored()?;
        let acts = letters
            .iter()
            .map(|letter| self.act(&who, &why, letter, action.letter_action()));
        let results = join_all(acts).await;
        let closed =
            |result: &Result<_, ServiceError>| result.as_ref().is_err_and(ServiceError::is_closed);
        if let Some(place) = results.iter().position(closed) {
            // The service is stopping: the batch is settled after the restart.
            return results
                .into_iter()
                .nth(place)
                .map_or(Ok(true), |result| result.map(|_| true));
        }
        for (entry, result) in entries.iter_mut().zip(&results) {
            entry.outcome = outcome(result);
        }
        self.count_batch(job, &entries).await?;
        Ok(true)
    }

    /// Stores the outcomes of a batch, unless another replica has settled it.
    async fn count_batch(
        &self,
        mut job: StoredJob,
        entries: &[AuditEntry],
    ) -> Result<(), ServiceError> {
        loop {
            let (batch, expected) = (std::mem::take(&mut job.batch), vec![job.unchanged()]);
            for ((letter, _), entry) in batch.iter().zip(entries) {
                job.count(*letter, &entry.outcome);
            }
            job.bulk.updated_at = self.idem.clock().now();
            if self
                .audit_log
                .end(entries, vec![job.note()?], expected)
                .await?
            {
                return Ok(());
            }
            match self.stored_job(job.bulk.id).await? {
                // Its cancellation was requested meanwhile.
                Some(changed) if changed.batch == batch => job = changed,
                _ => return Ok(()),
            }
        }
    }

    /// Reads a letter if it is open; the job counts it otherwise.
    async fn open_letter(
        &self,
        job: &mut StoredJob,
        id: DeadLetterId,
    ) -> Result<Option<DeadLetter>, ServiceError> {
        match self.idem.dead_letters().get(&id).await {
            Ok(Some(letter)) if letter.state == LetterState::Open => return Ok(Some(letter)),
            Ok(Some(letter)) => {
                self.index.put(&letter);
                job.bulk.skipped += 1;
            }
            Ok(None) => {
                self.index.forget(id);
                job.bulk.skipped += 1;
            }
            // One unreadable letter does not stop the others.
            Err(error @ LedgerError::Record { .. }) => {
                job.count(id, &Outcome::Refused(format!("{error:#}")));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }
}

//! The worker of a bulk job: it handles letters in batches, newest first, and stores each batch
//! before and after it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::ledger::LedgerError;
use idem_runtime::{DeadLetter, DeadLetterId, LetterState};
use uuid::Uuid;

use super::BulkState;
use super::job::{Next, StoredJob};
use crate::service::audit::Outcome;
use crate::service::audit_log::Draft;
use crate::service::letter_action::outcome;
use crate::service::{Inner, ServiceError};

/// The maximum number of letters in a batch.
const BATCH: usize = 16;
/// The pause after an error of the ledger.
const PAUSE: Duration = Duration::from_secs(5);

impl Inner {
    /// Works on a bulk job until it has ended or the service is closed.
    pub(super) async fn work(weak: Weak<Self>, id: Uuid) {
        loop {
            let Some(inner) = weak.upgrade() else { return };
            let pause = match inner.handle_batch(id).await {
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
    }

    /// Handles one batch; returns the pause before the next one, or `None` when the job has ended.
    async fn handle_batch(self: &Arc<Self>, id: Uuid) -> Result<Option<Duration>, ServiceError> {
        self.wait_for_index().await?;
        let begun = self.idem.clock().now();
        let jobs = Arc::clone(&self.bulk_jobs);
        // A cancellation waits for the batch, so that a cancelled job stands still.
        let mut guard = jobs.lock(id).await?;
        let mut job = guard.clone();
        if job.bulk.state != BulkState::Running {
            return Ok(None);
        }
        if !job.batch.is_empty() {
            self.settle(&mut job).await?;
            *guard = job.clone();
        }
        let rate = job.bulk.asked.rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 16"
        )]
        let most = (rate / 10.0).clamp(1.0, BATCH as f64) as usize;
        let (ids, oldest) = match job.next(self, most).await? {
            Next::Letters(ids, oldest) => (ids, oldest),
            Next::SearchOn => {
                *guard = job;
                return Ok(Some(Duration::ZERO));
            }
            Next::Nothing => {
                self.finish(&mut job).await?;
                *guard = job;
                return Ok(None);
            }
        };
        let taken = ids.len();
        self.act_on_batch(&mut job, ids, oldest, &mut guard).await?;
        *guard = job;
        let due = Duration::from_secs_f64(taken as f64 / rate);
        let took =
            Duration::try_from(self.idem.clock().now().duration_since(begun)).unwrap_or_default();
        Ok(Some(due.saturating_sub(took)))
    }

    async fn finish(&self, job: &mut StoredJob) -> Result<(), ServiceError> {
        let bulk = &mut job.bulk;
        // Letters older than the index were not counted at the start.
        bulk.total = bulk.total.max(bulk.done + bulk.failed + bulk.skipped);
        // Letters that were closed by another action before their batch were never met.
        bulk.skipped = bulk.total - bulk.done - bulk.failed;
        bulk.at_least = false;
        bulk.end(BulkState::Finished, self.idem.clock().now());
        Ok(self.idem.notes().write(vec![job.note()?]).await?)
    }

    async fn act_on_batch(
        &self,
        job: &mut StoredJob,
        ids: Vec<DeadLetterId>,
        oldest: DeadLetterId,
        stored: &mut StoredJob,
    ) -> Result<(), ServiceError> {
        let (id, who) = (job.bulk.id, job.bulk.who.clone());
        let (action, why) = (job.bulk.asked.action, job.bulk.asked.why.clone());
        // Ids are in one order, so that two batches never wait for each other.
        let mut locks = Vec::new();
        let mut letters = Vec::new();
        for id in ids {
            locks.push(self.locks.lock(id).await);
            letters.extend(self.open_letter(job, id).await?);
        }
        job.cursor = Some(oldest);
        let drafts = letters.iter().map(|letter| Draft {
            bulk: Some(id),
            ..Draft::new(&who, Some(&why), letter)
        });
        let audited = action.letter_action().audited();
        let mut entries = self
            .audit_log
            .begin(audited, drafts.collect(), |entries| {
                job.batch = letters
                    .iter()
                    .zip(entries)
                    .map(|(letter, entry)| (letter.id, entry.id))
                    .collect();
                Ok(vec![job.note()?])
            })
            .await?;
        // The ledger has this batch now: after an error below, `settle` decides about it.
        *stored = job.clone();
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
                .map_or(Ok(()), |result| result.map(|_| ()));
        }
        for ((letter, entry), result) in letters.iter().zip(&mut entries).zip(&results) {
            entry.outcome = outcome(result);
            job.count(letter.id, &entry.outcome);
        }
        job.batch.clear();
        job.bulk.updated_at = self.idem.clock().now();
        self.audit_log.end(&entries, vec![job.note()?]).await
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

//! Bulk jobs are started, listed and cancelled, and taken up again after a restart.

use std::sync::Arc;

use idem_runtime::ledger::NoteChange;
use uuid::{ContextV7, Uuid};

use super::job::{PREFIX, StoredJob, note_key};
use super::{BulkJob, BulkPage, BulkState, NewBulkJob, Selection};
use crate::service::audit::{AuditAction, Outcome, PageQuery};
use crate::service::audit_log::{Draft, page_limit, time_ordered};
use crate::service::{Inner, Service, ServiceError};

/// The maximum number of ids in one selection.
const MOST_IDS: usize = 1_000;
/// The number of ended bulk jobs that are remembered.
const REMEMBERED: usize = 200;
/// The maximum number of bulk jobs that run at the same time.
const MOST_RUNNING: usize = 10;
/// The number of notes that are read at once.
const NOTES: usize = 50;

impl Service {
    /// Returns one page of bulk jobs, newest first.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn bulks(&self, query: &PageQuery) -> Result<BulkPage, ServiceError> {
        let limit = page_limit(query.limit)?;
        self.inner.load_bulk_jobs().await?;
        let mut bulks = self.inner.bulk_jobs.all();
        bulks.retain(|bulk| query.after.is_none_or(|after| bulk.id < after));
        let more = bulks.len() > limit;
        bulks.truncate(limit);
        let next = bulks.last().filter(|_| more).map(|bulk| bulk.id);
        Ok(BulkPage { bulks, next })
    }

    /// Returns one bulk job and its progress.
    ///
    /// # Errors
    /// The bulk job does not exist, or the ledger cannot be read.
    pub async fn bulk(&self, id: Uuid) -> Result<BulkJob, ServiceError> {
        self.inner.load_bulk_jobs().await?;
        let bulk = self.inner.bulk_jobs.get(id);
        bulk.ok_or(ServiceError::NoSuchBulk(id))
    }
}

impl Inner {
    /// Reads the bulk jobs in the ledger, once. A service that is not read-only continues those
    /// that have not ended.
    pub(in crate::service) async fn load_bulk_jobs(self: &Arc<Self>) -> Result<(), ServiceError> {
        self.wake();
        let load = async {
            let mut after: Option<String> = None;
            loop {
                let notes = self
                    .idem
                    .notes()
                    .list(PREFIX, after.as_deref(), NOTES)
                    .await?;
                for note in &notes {
                    let job = StoredJob::decode(&note.key, &note.value)?;
                    let (id, state) = (job.bulk.id, job.bulk.state);
                    self.bulk_jobs.put(job);
                    if state == BulkState::Running && self.continues {
                        tracing::info!(bulk = %id, "continuing a bulk job");
                        tokio::spawn(Self::work(Arc::downgrade(self), id));
                    }
                }
                match notes.into_iter().last() {
                    Some(last) => after = Some(last.key),
                    None => return Ok(()),
                }
            }
        };
        self.bulk_jobs
            .loaded
            .get_or_try_init(|| load)
            .await
            .copied()
    }

    pub(in crate::service) async fn start_bulk(
        self: &Arc<Self>,
        who: &str,
        mut asked: NewBulkJob,
    ) -> Result<BulkJob, ServiceError> {
        check(&mut asked)?;
        self.load_bulk_jobs().await?;
        self.wait_for_index().await?;
        self.check_room()?;
        let (total, at_least) = self.count_letters(&asked.selection).await?;
        let at = self.idem.clock().now();
        let bulk = BulkJob {
            id: time_ordered(at, &ContextV7::new()),
            who: who.to_owned(),
            asked,
            state: BulkState::Running,
            total,
            at_least,
            done: 0,
            failed: 0,
            skipped: 0,
            problems: Vec::new(),
            at,
            updated_at: at,
            ended_at: None,
        };
        let job = StoredJob {
            bulk: bulk.clone(),
            newest: self.index.newest(),
            cursor: None,
            batch: Vec::new(),
        };
        let mut changes = vec![job.note()?];
        let old = self.old_bulk_jobs();
        changes.extend(old.iter().map(|id| NoteChange::delete(note_key(*id))));
        let audited = bulk.asked.action.audited_start();
        self.write_audited(audited, who, Some(&bulk.asked.why), bulk.id, changes)
            .await?;
        old.iter().for_each(|id| self.bulk_jobs.remove(*id));
        self.bulk_jobs.put(job);
        tokio::spawn(Self::work(Arc::downgrade(self), bulk.id));
        Ok(bulk)
    }

    pub(in crate::service) async fn cancel_bulk(
        self: &Arc<Self>,
        who: &str,
        id: Uuid,
        why: Option<&str>,
    ) -> Result<BulkJob, ServiceError> {
        self.load_bulk_jobs().await?;
        // The batch in progress is finished first.
        let mut guard = self.bulk_jobs.lock(id).await?;
        if guard.bulk.state != BulkState::Running {
            return Err(ServiceError::BulkEnded(id));
        }
        let mut job = guard.clone();
        if !job.batch.is_empty() {
            // A stop or an error interrupted it, and nothing would settle it later.
            self.settle(&mut job).await?;
        }
        job.bulk.end(BulkState::Cancelled, self.idem.clock().now());
        let (audited, changes) = (job.bulk.asked.action.audited_cancel(), vec![job.note()?]);
        self.write_audited(audited, who, why, id, changes).await?;
        let bulk = job.bulk.clone();
        *guard = job;
        Ok(bulk)
    }

    fn check_room(&self) -> Result<(), ServiceError> {
        let bulks = self.bulk_jobs.all();
        let running = bulks.iter().filter(|bulk| bulk.state == BulkState::Running);
        let running = running.count();
        if running < MOST_RUNNING {
            return Ok(());
        }
        Err(ServiceError::Invalid {
            field: "selection",
            why: format!(
                "cannot be started: {running} bulk jobs are running; wait for one, or cancel one"
            ),
        })
    }

    /// Counts the letters of a selection, and says whether older ones than the index has are left
    /// out.
    async fn count_letters(&self, selection: &Selection) -> Result<(u64, bool), ServiceError> {
        let Some(query) = selection.query() else {
            return Ok((selection.ids().len() as u64, false));
        };
        let earlier = self.earlier_names_of(selection, &query);
        let found = self.index.find(&query, &earlier, None, 0);
        let has_older = found.reach.floor().is_some();
        Ok(self.total(&query, found.total, has_older).await?)
    }

    /// Writes notes and their entry in the audit log, in one write.
    async fn write_audited(
        &self,
        action: AuditAction,
        who: &str,
        why: Option<&str>,
        bulk: Uuid,
        changes: Vec<NoteChange>,
    ) -> Result<(), ServiceError> {
        let draft = Draft {
            who: who.to_owned(),
            why: why.map(str::to_owned),
            bulk: Some(bulk),
            done: true,
            ..Draft::default()
        };
        let _order = self.audit_log.lock_order().await;
        let entries = self
            .audit_log
            .begin(action, vec![draft], |_| Ok(changes))
            .await?;
        debug_assert!(entries.iter().all(|entry| entry.outcome == Outcome::Done));
        Ok(())
    }

    /// Returns the ended bulk jobs that are no longer remembered.
    fn old_bulk_jobs(&self) -> Vec<Uuid> {
        let bulks = self.bulk_jobs.all().into_iter();
        bulks
            .filter(|bulk| bulk.state != BulkState::Running)
            .skip(REMEMBERED)
            .map(|bulk| bulk.id)
            .collect()
    }
}

fn check(asked: &mut NewBulkJob) -> Result<(), ServiceError> {
    if !(0.01..=1000.0).contains(&asked.rate) {
        let why = format!(
            "is {}: it can be from 0.01 to 1000 letters a second",
            asked.rate
        );
        return Err(ServiceError::Invalid { field: "rate", why });
    }
    if let Selection::Ids(ids) = &mut asked.selection {
        if ids.is_empty() || ids.len() > MOST_IDS {
            let why = format!(
                "has {} ids: it can have from 1 to {MOST_IDS}; a group or a filter takes more",
                ids.len()
            );
            return Err(ServiceError::Invalid {
                field: "selection",
                why,
            });
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
    }
    Ok(())
}

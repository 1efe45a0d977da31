//! Bulk jobs are started and listed, and taken over from a replica that stopped.

use std::sync::Arc;

use idem_runtime::ledger::{LedgerError, NoteChange};
use idem_runtime::notes::{ExpectedNote, Note};
use uuid::{ContextV7, Uuid};

use super::job::{PREFIX, StoredJob, note_key};
use super::{BulkJob, BulkPage, BulkState, NewBulkJob, Selection};
use crate::service::audit::{AuditAction, PageQuery};
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
        self.inner.wake();
        let mut bulks = self.inner.bulk_jobs().await?;
        bulks.retain(|bulk| query.after.is_none_or(|after| bulk.id < after));
        let more = bulks.len() > limit;
        bulks.truncate(limit);
        let next = bulks.last().filter(|_| more).map(|bulk| bulk.id);
        Ok(BulkPage { bulks, next })
    }

    /// Returns one bulk job and its progress, whichever replica works on it.
    ///
    /// # Errors
    /// The bulk job does not exist, or the ledger cannot be read.
    pub async fn bulk(&self, id: Uuid) -> Result<BulkJob, ServiceError> {
        self.inner.wake();
        let job = self.inner.stored_job(id).await?;
        Ok(job.ok_or(ServiceError::NoSuchBulk(id))?.bulk.estimated())
    }
}

impl Inner {
    /// Reads one job from its note.
    pub(super) async fn stored_job(&self, id: Uuid) -> Result<Option<StoredJob>, ServiceError> {
        let key = note_key(id);
        let value = self.idem.notes().get(&key).await?;
        value
            .map(|value| StoredJob::decode(&key, &value))
            .transpose()
    }

    /// Writes a job if its note is as it was read. Returns whether it did.
    pub(super) async fn store_job(
        &self,
        job: &mut StoredJob,
        guard: Option<&ExpectedNote>,
    ) -> Result<bool, ServiceError> {
        let mut expected = vec![job.unchanged()];
        expected.extend(guard.cloned());
        let change = vec![job.note()?];
        let stored = self.idem.notes().write_if(change, expected).await?;
        if stored {
            job.was_stored()?;
        }
        Ok(stored)
    }

    /// Reads the notes of all jobs, newest first.
    async fn job_notes(&self) -> Result<Vec<Note>, LedgerError> {
        let (notes, mut found) = (self.idem.notes(), Vec::<Note>::new());
        loop {
            let after = found.last().map(|note| note.key.as_str());
            let page = notes.list(PREFIX, after, NOTES).await?;
            if page.is_empty() {
                found.reverse();
                return Ok(found);
            }
            found.extend(page);
        }
    }

    /// Reads all jobs, newest first.
    async fn bulk_jobs(&self) -> Result<Vec<BulkJob>, ServiceError> {
        let notes = self.job_notes().await?;
        let jobs = notes
            .iter()
            .map(|note| Ok(StoredJob::decode(&note.key, &note.value)?.bulk.estimated()));
        jobs.collect()
    }

    /// Works on the jobs that have not ended, or stands by while another replica does.
    pub(in crate::service) async fn take_part_in_bulk_jobs(
        self: &Arc<Self>,
    ) -> Result<(), LedgerError> {
        for note in self.job_notes().await? {
            // One that cannot be read does not stop the others; queries return its error.
            let Ok(job) = StoredJob::decode(&note.key, &note.value) else {
                continue;
            };
            let id = job.bulk.id;
            if job.bulk.state == BulkState::Running && self.seats.get(id).is_none() {
                let seat = self.seats.add(&self.idem, id);
                tokio::spawn(Self::work(Arc::downgrade(self), id, seat));
            }
        }
        Ok(())
    }

    pub(in crate::service) async fn start_bulk(
        self: &Arc<Self>,
        who: &str,
        mut asked: NewBulkJob,
    ) -> Result<BulkJob, ServiceError> {
        check(&mut asked)?;
        self.wait_for_index().await?;
        let known = self.bulk_jobs().await?;
        check_room(&known)?;
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
            seconds_left: None,
        };
        let job = StoredJob::new(bulk.clone(), self.index.newest());
        let mut changes = vec![job.note()?];
        changes.extend(old(&known).map(|id| NoteChange::delete(note_key(id))));
        let audited = bulk.asked.action.audited_start();
        let why = Some(bulk.asked.why.clone());
        let seat = self.seats.add(&self.idem, bulk.id);
        let written = async {
            // Held before the others see the job: it is worked on here.
            seat.duty.hold().await?;
            self.write_audited(audited, who, why, bulk.id, changes, &[])
                .await
        };
        let written = written.await;
        // After an error it may have been written all the same; the worker finds out.
        tokio::spawn(Self::work(Arc::downgrade(self), bulk.id, seat));
        written.map(|_| bulk.estimated())
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

    /// Writes notes and their entry in the audit log, in one write, if the `expected` notes are so.
    /// Returns whether it did.
    pub(super) async fn write_audited(
        &self,
        action: AuditAction,
        who: &str,
        why: Option<String>,
        bulk: Uuid,
        changes: Vec<NoteChange>,
        expected: &[ExpectedNote],
    ) -> Result<bool, ServiceError> {
        let draft = Draft {
            who: who.to_owned(),
            why,
            bulk: Some(bulk),
            done: true,
            ..Draft::default()
        };
        let _order = self.audit_log.lock_order().await;
        let entries = self
            .audit_log
            .begin_if(action, &[draft], expected, |_| Ok(changes.clone()))
            .await?;
        Ok(entries.is_some())
    }
}

fn check_room(known: &[BulkJob]) -> Result<(), ServiceError> {
    let running = known.iter().filter(|bulk| bulk.state == BulkState::Running);
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

/// Returns the ended bulk jobs that are no longer remembered.
fn old(known: &[BulkJob]) -> impl Iterator<Item = Uuid> {
    let ended = known.iter().filter(|bulk| bulk.state != BulkState::Running);
    ended.skip(REMEMBERED).map(|bulk| bulk.id)
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

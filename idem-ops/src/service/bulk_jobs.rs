//! The bulk jobs of one ledger: asked for, looked at, cancelled, and taken up again after a
//! restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};
use uuid::{ContextV7, Uuid};

use super::audit::{AuditAction, Outcome, PageQuery};
use super::bulk::{BulkJob, BulkPage, BulkState, NewBulkJob, Selection};
use super::error::ServiceError;
use super::audit_log::{Draft, limit, time_ordered};
use super::bulk_worker::{Job, note_key, query};
use super::{Inner, Service};

/// Ids in one selection.
const MOST_IDS: usize = 1_000;
/// Bulk jobs that are remembered after their end.
const REMEMBERED: usize = 200;
/// Bulk jobs at the same time.
const AT_ONCE: usize = 10;

type Seats = parking_lot::Mutex<BTreeMap<Uuid, Seat>>;

/// A job that is being worked on or looked at, and how it stood when it was last written.
#[derive(Clone)]
struct Seat {
    job: Arc<Mutex<Job>>,
    shown: Arc<parking_lot::Mutex<BulkJob>>,
}

#[derive(Default)]
pub(super) struct Jobs {
    seats: Seats,
    read: OnceCell<()>,
}

/// A job in hand; what it is when it is let go of is shown.
pub(super) struct InHand {
    job: OwnedMutexGuard<Job>,
    shown: Arc<parking_lot::Mutex<BulkJob>>,
}

impl std::ops::Deref for InHand {
    type Target = Job;
    fn deref(&self) -> &Job {
        &self.job
    }
}

impl std::ops::DerefMut for InHand {
    fn deref_mut(&mut self) -> &mut Job {
        &mut self.job
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.shown.lock().clone_from(&self.job.bulk);
    }
}

impl Jobs {
    pub(super) async fn seat(&self, id: Uuid) -> Result<InHand, ServiceError> {
        let seat = self
            .seats
            .lock()
            .get(&id)
            .cloned()
            .ok_or(ServiceError::NoSuchBulk(id))?;
        Ok(InHand {
            job: seat.job.lock_owned().await,
            shown: seat.shown,
        })
    }

    fn put(&self, job: Job) {
        let (id, shown) = (
            job.bulk.id,
            Arc::new(parking_lot::Mutex::new(job.bulk.clone())),
        );
        self.seats.lock().insert(
            id,
            Seat {
                job: Arc::new(Mutex::new(job)),
                shown,
            },
        );
    }

    fn one(&self, id: Uuid) -> Option<BulkJob> {
        self.seats
            .lock()
            .get(&id)
            .map(|seat| seat.shown.lock().clone())
    }

    fn all(&self) -> Vec<BulkJob> {
        self.seats
            .lock()
            .values()
            .rev()
            .map(|seat| seat.shown.lock().clone())
            .collect()
    }
}

impl Service {
    /// One page of bulk jobs, newest first.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn bulks(&self, query: &PageQuery) -> Result<BulkPage, ServiceError> {
        let limit = limit(query.limit)?;
        self.inner.resume().await?;
        let mut bulks = self.inner.jobs.all();
        bulks.retain(|bulk| query.after.is_none_or(|after| bulk.id < after));
        let more = bulks.len() > limit;
        bulks.truncate(limit);
        let next = bulks.last().filter(|_| more).map(|bulk| bulk.id);
        Ok(BulkPage { bulks, next })
    }

    /// One bulk job and how far it is.
    ///
    /// # Errors
    /// There is no such bulk job, or the ledger cannot be read.
    pub async fn bulk(&self, id: Uuid) -> Result<BulkJob, ServiceError> {
        self.inner.resume().await?;
        self.inner.jobs.one(id).ok_or(ServiceError::NoSuchBulk(id))
    }
}

impl Inner {
    /// Reads the bulk jobs that are in the ledger. Who owns its handlers goes on with those that
    /// have not ended.
    pub(super) async fn resume(self: &Arc<Self>) -> Result<(), ServiceError> {
        self.wake();
        let read = async {
            let mut after: Option<String> = None;
            loop {
                let notes = self
                    .idem
                    .notes()
                    .list("bulk/", after.as_deref(), 50)
                    .await?;
                for note in &notes {
                    let job = Self::job(&note.key, &note.value)?;
                    let (id, state) = (job.bulk.id, job.bulk.state);
                    self.jobs.put(job);
                    if state == BulkState::Running && self.goes_on {
                        tracing::info!(bulk = %id, "a bulk job goes on");
                        tokio::spawn(Self::work(Arc::downgrade(self), id));
                    }
                }
                match notes.into_iter().last() {
                    Some(last) => after = Some(last.key),
                    None => return Ok(()),
                }
            }
        };
        self.jobs.read.get_or_try_init(|| read).await.copied()
    }

    pub(super) async fn start_bulk(
        self: &Arc<Self>,
        who: &str,
        mut asked: NewBulkJob,
    ) -> Result<BulkJob, ServiceError> {
        check(&mut asked)?;
        self.resume().await?;
        self.whole().await?;
        let running = self
            .jobs
            .all()
            .iter()
            .filter(|bulk| bulk.state == BulkState::Running)
            .count();
        if running >= AT_ONCE {
            let why = format!(
                "cannot be begun: {running} bulk jobs are running; wait for one, or cancel one"
            );
            return Err(ServiceError::Invalid {
                field: "selection",
                why,
            });
        }
        let (total, at_least) = match query(&asked.selection) {
            None => (asked.selection.ids().len() as u64, false),
            Some(query) => {
                let found =
                    self.index
                        .find(&query, &self.earlier_of(&asked.selection, &query), None, 0);
                self.total(&query, found.total, found.reach.floor().is_some())
                    .await?
            }
        };
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
        let job = Job {
            bulk: bulk.clone(),
            newest: self.index.newest(),
            cursor: None,
            turn: Vec::new(),
        };
        let mut changes = vec![job.note()?];
        let old = self.outlived();
        changes.extend(old.iter().map(|id| (note_key(*id), None)));
        self.audited(
            bulk.asked.action.of_all().0,
            who,
            Some(&bulk.asked.why),
            bulk.id,
            changes,
        )
        .await?;
        old.iter()
            .for_each(|id| drop(self.jobs.seats.lock().remove(id)));
        self.jobs.put(job);
        tokio::spawn(Self::work(Arc::downgrade(self), bulk.id));
        Ok(bulk)
    }

    pub(super) async fn cancel_bulk(
        self: &Arc<Self>,
        who: &str,
        id: Uuid,
        why: Option<&str>,
    ) -> Result<BulkJob, ServiceError> {
        self.resume().await?;
        // The batch that is having its turn comes to its end first.
        let mut seat = self.jobs.seat(id).await?;
        if seat.bulk.state != BulkState::Running {
            return Err(ServiceError::BulkEnded(id));
        }
        let mut job = seat.clone();
        if !job.turn.is_empty() {
            // A stop or the ledger cut it off, and nobody settles it after this.
            self.settle(&mut job).await?;
        }
        job.bulk.end(BulkState::Cancelled, self.idem.clock().now());
        self.audited(
            job.bulk.asked.action.of_all().1,
            who,
            why,
            id,
            vec![job.note()?],
        )
        .await?;
        let bulk = job.bulk.clone();
        *seat = job;
        Ok(bulk)
    }

    /// A change of notes and its entry in the audit log, in one write.
    async fn audited(
        &self,
        deed: AuditAction,
        who: &str,
        why: Option<&str>,
        bulk: Uuid,
        changes: Vec<idem_runtime::ledger::NoteChange>,
    ) -> Result<(), ServiceError> {
        let draft = Draft {
            who: who.to_owned(),
            why: why.map(str::to_owned),
            bulk: Some(bulk),
            done: true,
            ..Draft::default()
        };
        let _ordered = self.journal.in_order().await;
        let entries = self
            .journal
            .begin(deed, vec![draft], |_| Ok(changes))
            .await?;
        debug_assert!(entries.iter().all(|entry| entry.outcome == Outcome::Done));
        Ok(())
    }

    /// Ended bulk jobs that are too old to be remembered.
    fn outlived(&self) -> Vec<Uuid> {
        let ended = self
            .jobs
            .all()
            .into_iter()
            .filter(|bulk| bulk.state != BulkState::Running);
        ended.skip(REMEMBERED).map(|bulk| bulk.id).collect()
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

//! The bulk redrives of one ledger: asked for, looked at, cancelled, and taken up again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};
use uuid::{ContextV7, Uuid};

use super::audit::{Deed, Outcome, PageQuery};
use super::bulk::{Job, note_key, query};
use super::error::ServiceError;
use super::journal::{Draft, limit, time_ordered};
use super::redrives::{NewRedrive, Redrive, RedrivePage, RedriveState, Selection};
use super::{Inner, Service};

/// Ids in one selection.
const MOST_IDS: usize = 1_000;
/// Redrives that are remembered after their end.
const REMEMBERED: usize = 200;
/// Redrives at the same time.
const AT_ONCE: usize = 10;

type Seats = parking_lot::Mutex<BTreeMap<Uuid, Seat>>;

/// A job that is being worked on or looked at, and how it stood when it was last written.
#[derive(Clone)]
struct Seat {
    job: Arc<Mutex<Job>>,
    shown: Arc<parking_lot::Mutex<Redrive>>,
}

#[derive(Default)]
pub(super) struct Jobs {
    seats: Seats,
    read: OnceCell<()>,
}

/// A job in hand; what it is when it is let go of is shown.
pub(super) struct InHand {
    job: OwnedMutexGuard<Job>,
    shown: Arc<parking_lot::Mutex<Redrive>>,
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
        self.shown.lock().clone_from(&self.job.redrive);
    }
}

impl Jobs {
    pub(super) async fn seat(&self, id: Uuid) -> Result<InHand, ServiceError> {
        let seat = self.seats.lock().get(&id).cloned().ok_or(ServiceError::NoSuchRedrive(id))?;
        Ok(InHand { job: seat.job.lock_owned().await, shown: seat.shown })
    }

    fn put(&self, job: Job) {
        let (id, shown) = (job.redrive.id, Arc::new(parking_lot::Mutex::new(job.redrive.clone())));
        self.seats.lock().insert(id, Seat { job: Arc::new(Mutex::new(job)), shown });
    }

    fn all(&self) -> Vec<Redrive> {
        self.seats.lock().values().rev().map(|seat| seat.shown.lock().clone()).collect()
    }
}

impl Service {
    /// One page of bulk redrives, newest first.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn redrives(&self, query: &PageQuery) -> Result<RedrivePage, ServiceError> {
        let limit = limit(query.limit)?;
        self.inner.resume().await?;
        let mut redrives = self.inner.jobs.all();
        redrives.retain(|redrive| query.after.is_none_or(|after| redrive.id < after));
        let more = redrives.len() > limit;
        redrives.truncate(limit);
        let next = redrives.last().filter(|_| more).map(|redrive| redrive.id);
        Ok(RedrivePage { redrives, next })
    }

    /// One bulk redrive and how far it is.
    ///
    /// # Errors
    /// There is no such redrive, or the ledger cannot be read.
    pub async fn redrive(&self, id: Uuid) -> Result<Redrive, ServiceError> {
        self.inner.resume().await?;
        let found = self.inner.jobs.all().into_iter().find(|redrive| redrive.id == id);
        found.ok_or(ServiceError::NoSuchRedrive(id))
    }
}

impl Inner {
    /// Reads the redrives that are in the ledger, and goes on with those that have not ended.
    pub(super) async fn resume(self: &Arc<Self>) -> Result<(), ServiceError> {
        self.wake();
        let read = async {
            let mut after: Option<String> = None;
            loop {
                let notes = self.idem.notes().list("redrives/", after.as_deref(), 50).await?;
                for note in &notes {
                    let job = Self::job(&note.key, &note.value)?;
                    let (id, state) = (job.redrive.id, job.redrive.state);
                    self.jobs.put(job);
                    if state == RedriveState::Running {
                        tracing::info!(redrive = %id, "a bulk redrive goes on");
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

    pub(super) async fn start_redrive(
        self: &Arc<Self>,
        who: &str,
        mut asked: NewRedrive,
    ) -> Result<Redrive, ServiceError> {
        check(&mut asked)?;
        self.resume().await?;
        self.whole().await?;
        let running = self.jobs.all().iter().filter(|redrive| redrive.state == RedriveState::Running).count();
        if running >= AT_ONCE {
            let why = format!("cannot be begun: {running} redrives are running; wait for one, or cancel one");
            return Err(ServiceError::Invalid { field: "selection", why });
        }
        let total = match &asked.selection {
            Selection::Ids(ids) => ids.len() as u64,
            selection => query(selection).map_or(0, |query| self.index.find(&query, None, 0).total),
        };
        let at = self.idem.clock().now();
        let redrive = Redrive {
            id: time_ordered(at, &ContextV7::new()),
            who: who.to_owned(),
            asked,
            state: RedriveState::Running,
            total,
            done: 0,
            failed: 0,
            skipped: 0,
            problems: Vec::new(),
            at,
            updated_at: at,
            ended_at: None,
        };
        let job = Job { redrive: redrive.clone(), newest: self.index.newest(), cursor: None, turn: Vec::new() };
        let mut changes = vec![job.note()?];
        let old = self.outlived();
        changes.extend(old.iter().map(|id| (note_key(*id), None)));
        self.audited(Deed::StartRedrive, who, Some(&redrive.asked.why), redrive.id, changes).await?;
        old.iter().for_each(|id| drop(self.jobs.seats.lock().remove(id)));
        self.jobs.put(job);
        tokio::spawn(Self::work(Arc::downgrade(self), redrive.id));
        Ok(redrive)
    }

    pub(super) async fn cancel_redrive(
        self: &Arc<Self>,
        who: &str,
        id: Uuid,
        why: Option<&str>,
    ) -> Result<Redrive, ServiceError> {
        self.resume().await?;
        // The batch that is having its turn comes to its end first.
        let mut seat = self.jobs.seat(id).await?;
        if seat.redrive.state != RedriveState::Running {
            return Err(ServiceError::RedriveEnded(id));
        }
        let mut job = seat.clone();
        job.redrive.state = RedriveState::Cancelled;
        let now = self.idem.clock().now();
        (job.redrive.updated_at, job.redrive.ended_at) = (now, Some(now));
        self.audited(Deed::CancelRedrive, who, why, id, vec![job.note()?]).await?;
        let redrive = job.redrive.clone();
        *seat = job;
        Ok(redrive)
    }

    /// A change of notes and its entry in the audit log, in one write.
    async fn audited(
        &self,
        deed: Deed,
        who: &str,
        why: Option<&str>,
        redrive: Uuid,
        changes: Vec<idem_runtime::ledger::NoteChange>,
    ) -> Result<(), ServiceError> {
        let draft = Draft {
            who: who.to_owned(),
            why: why.map(str::to_owned),
            redrive: Some(redrive),
            done: true,
            ..Draft::default()
        };
        let _ordered = self.journal.in_order().await;
        let entries = self.journal.begin(deed, vec![draft], |_| Ok(changes)).await?;
        debug_assert!(entries.iter().all(|entry| entry.outcome == Outcome::Done));
        Ok(())
    }

    /// Ended redrives that are too old to be remembered.
    fn outlived(&self) -> Vec<Uuid> {
        let ended = self.jobs.all().into_iter().filter(|redrive| redrive.state != RedriveState::Running);
        ended.skip(REMEMBERED).map(|redrive| redrive.id).collect()
    }
}

fn check(asked: &mut NewRedrive) -> Result<(), ServiceError> {
    if !(0.01..=1000.0).contains(&asked.rate) {
        let why = format!("is {}: it can be from 0.01 to 1000 letters a second", asked.rate);
        return Err(ServiceError::Invalid { field: "rate", why });
    }
    if let Selection::Ids(ids) = &mut asked.selection {
        if ids.is_empty() || ids.len() > MOST_IDS {
            let why =
                format!("has {} ids: it can have from 1 to {MOST_IDS}; a group or a filter takes more", ids.len());
            return Err(ServiceError::Invalid { field: "selection", why });
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
    }
    Ok(())
}

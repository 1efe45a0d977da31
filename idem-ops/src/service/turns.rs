//! Bulk acts at work: letter by letter, newest first, each batch written down before and after it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::ledger::NoteChange;
use idem_runtime::protocol::{Record, Settlement};
use idem_runtime::{
    DeadLetter, DeadLetterId, Error, LetterState,
    dead_letters::{Action, ActionKind, Actor},
    ledger::LedgerError,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Inner;
use super::acting::{How, ended, outcome};
use super::audit::Outcome;
use super::bulk::{Bulk, BulkDeed, BulkProblem, BulkState, Selection};
use super::error::ServiceError;
use super::journal::{Draft, decoded, encoded};
use super::letters::{LetterQuery, StateFilter};

/// Letters that have their turn at once.
const BATCH: usize = 16;
/// Problems kept.
const PROBLEMS: usize = 20;
/// After trouble with the ledger.
const PAUSE: Duration = Duration::from_secs(5);

/// A bulk act as its note keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) bulk: Bulk,
    /// Letters that died later are not taken.
    pub(super) newest: Option<DeadLetterId>,
    /// The next letter is older than this one.
    pub(super) cursor: Option<DeadLetterId>,
    /// The letters that are having their turn, and their entries in the audit log.
    pub(super) turn: Vec<(DeadLetterId, Uuid)>,
}

impl Job {
    pub(super) fn note(&self) -> Result<NoteChange, ServiceError> {
        let key = note_key(self.bulk.id);
        let value = encoded(&key, self)?;
        Ok(NoteChange::put(key, value))
    }

    /// The letters that come next, newest first. Where none was found yet, and there are more to
    /// look through, the cursor moves on.
    async fn next(&mut self, inner: &Inner, most: usize) -> Result<Comes, Error> {
        let comes = |id: &DeadLetterId| self.cursor.is_none_or(|cursor| *id < cursor);
        let Some(query) = query(&self.bulk.asked.selection) else {
            let ids = self.bulk.asked.selection.ids().iter().copied();
            return Ok(Comes::of(ids.filter(comes).take(most).collect()));
        };
        let Some(newest) = self.newest else {
            return Ok(Comes::Nothing);
        };
        let below = self.cursor.unwrap_or(successor(newest));
        let earlier = inner.earlier_of(&self.bulk.asked.selection, &query);
        let found = inner.index.find(&query, &earlier, Some(below), most);
        let Some(floor) = found.reach.floor().filter(|_| found.ids.is_empty()) else {
            return Ok(Comes::of(found.ids));
        };
        let older = inner
            .older(&query, &earlier, below.min(floor), most)
            .await?;
        match older.looked_at.filter(|_| older.letters.is_empty()) {
            None => Ok(Comes::of(
                older.letters.iter().map(|letter| letter.id).collect(),
            )),
            looked_at => {
                self.cursor = looked_at;
                Ok(Comes::Later)
            }
        }
    }

    fn problem(&mut self, letter: DeadLetterId, error: String) {
        if self.bulk.problems.len() < PROBLEMS {
            self.bulk.problems.push(BulkProblem { letter, error });
        }
    }

    /// Counts what a letter's turn came to.
    fn count(&mut self, letter: DeadLetterId, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.bulk.done += 1,
            Outcome::Failed(error) | Outcome::Refused(error) => {
                self.bulk.failed += 1;
                self.problem(letter, error.clone());
            }
            Outcome::Begun => self.bulk.skipped += 1,
        }
    }
}

/// What comes next in a bulk act.
enum Comes {
    /// These, and this is the oldest of them.
    Letters(Vec<DeadLetterId>, DeadLetterId),
    /// It is to be looked for further back.
    Later,
    Nothing,
}

impl Comes {
    fn of(ids: Vec<DeadLetterId>) -> Self {
        match ids.last().copied() {
            Some(oldest) => Self::Letters(ids, oldest),
            None => Self::Nothing,
        }
    }
}

pub(super) fn note_key(id: Uuid) -> String {
    format!("bulk/{id}")
}

/// The open letters that a selection other than of ids takes.
pub(super) fn query(selection: &Selection) -> Option<LetterQuery> {
    match selection {
        Selection::Ids(_) => None,
        Selection::Group { handler, error } => Some(LetterQuery {
            handler: Some(handler.clone()),
            error: Some(error.clone()),
            ..LetterQuery::default()
        }),
        Selection::Filter(query) => Some(LetterQuery {
            state: StateFilter::Open,
            after: None,
            limit: None,
            ..query.clone()
        }),
    }
}

impl Inner {
    /// The names that the handler of a selection had before; a group is of one name.
    pub(super) fn earlier_of(&self, selection: &Selection, query: &LetterQuery) -> Vec<String> {
        if matches!(selection, Selection::Group { .. }) {
            Vec::new()
        } else {
            self.earlier_names(query)
        }
    }

    /// Works on a bulk act until it has ended, or this service has.
    pub(super) async fn work(weak: Weak<Self>, id: Uuid) {
        loop {
            let Some(inner) = weak.upgrade() else { return };
            let pause = match inner.turn(id).await {
                Ok(Some(pause)) => pause,
                Ok(None) => return,
                Err(ServiceError::Idem(
                    Error::Ledger {
                        problem: LedgerError::Closed,
                        ..
                    }
                    | Error::Closed { .. },
                )) => {
                    return;
                }
                Err(error) => {
                    tracing::warn!(bulk = %id, %error, "a bulk act stands still; trying again");
                    PAUSE
                }
            };
            let clock = inner.idem.clock();
            // Nothing here keeps the Idem open while it waits.
            drop(inner);
            clock.sleep(pause).await;
        }
    }

    /// One batch; how long to wait before the next, or nothing when it has ended.
    async fn turn(self: &Arc<Self>, id: Uuid) -> Result<Option<Duration>, ServiceError> {
        self.whole().await?;
        let begun = self.idem.clock().now();
        let jobs = Arc::clone(&self.jobs);
        // A cancel waits for the batch, so that what is cancelled stands still.
        let mut seat = jobs.seat(id).await?;
        let mut job = seat.clone();
        if job.bulk.state != BulkState::Running {
            return Ok(None);
        }
        if !job.turn.is_empty() {
            self.settle(&mut job).await?;
            *seat = job.clone();
        }
        let rate = job.bulk.asked.rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 16"
        )]
        let batch = (rate / 10.0).clamp(1.0, BATCH as f64) as usize;
        let (ids, oldest) = match job.next(self, batch).await? {
            Comes::Letters(ids, oldest) => (ids, oldest),
            Comes::Later => {
                *seat = job;
                return Ok(Some(Duration::ZERO));
            }
            Comes::Nothing => {
                let bulk = &mut job.bulk;
                // Older letters than the index held were not counted when it began.
                bulk.total = bulk.total.max(bulk.done + bulk.failed + bulk.skipped);
                // Letters that somebody else closed before their turn were never met.
                bulk.skipped = bulk.total - bulk.done - bulk.failed;
                bulk.at_least = false;
                bulk.end(BulkState::Finished, self.idem.clock().now());
                self.idem.notes().write(vec![job.note()?]).await?;
                *seat = job;
                return Ok(None);
            }
        };
        let taken = ids.len();
        self.batch(&mut job, ids, oldest, &mut seat).await?;
        *seat = job;
        let due = Duration::from_secs_f64(taken as f64 / rate);
        let took =
            Duration::try_from(self.idem.clock().now().duration_since(begun)).unwrap_or_default();
        Ok(Some(due.saturating_sub(took)))
    }

    async fn batch(
        &self,
        job: &mut Job,
        ids: Vec<DeadLetterId>,
        oldest: DeadLetterId,
        seat: &mut Job,
    ) -> Result<(), ServiceError> {
        let (id, who) = (job.bulk.id, job.bulk.who.clone());
        let (deed, why) = (job.bulk.asked.deed, job.bulk.asked.why.clone());
        // In one order, so that two batches never wait for each other.
        let mut held = Vec::new();
        let mut letters = Vec::new();
        for id in ids {
            held.push(self.locks.hold(id).await);
            match self.idem.dead_letters().get(&id).await {
                Ok(Some(letter)) if letter.state == LetterState::Open => letters.push(letter),
                Ok(Some(letter)) => {
                    self.index.put(&letter);
                    job.bulk.skipped += 1;
                }
                Ok(None) => {
                    self.index.forget(id);
                    job.bulk.skipped += 1;
                }
                // The others have their turn.
                Err(
                    error @ Error::Ledger {
                        problem: LedgerError::Record { .. },
                        ..
                    },
                ) => {
                    job.count(id, &Outcome::Refused(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        job.cursor = Some(oldest);
        let drafts = letters.iter().map(|letter| Draft {
            bulk: Some(id),
            ..Draft::of(&who, Some(&why), letter)
        });
        let entries = self
            .journal
            .begin(deed.of_one(), drafts.collect(), |entries| {
                job.turn = letters
                    .iter()
                    .zip(entries)
                    .map(|(letter, entry)| (letter.id, entry.id))
                    .collect();
                Ok(vec![job.note()?])
            })
            .await?;
        // From here on the ledger has this turn: an error below leads to `settle`.
        *seat = job.clone();
        let how = || match deed {
            BulkDeed::Rearm => How::Rearm,
            BulkDeed::Run => How::Run,
            BulkDeed::Publish => How::Publish,
            BulkDeed::Discard => How::Discard,
        };
        let results = join_all(
            letters
                .iter()
                .map(|letter| self.act(&who, &why, letter, how())),
        )
        .await;
        let closed = |result: &Result<_, ServiceError>| {
            matches!(
                result,
                Err(ServiceError::Idem(
                    Error::Closed { .. }
                        | Error::Ledger {
                            problem: LedgerError::Closed,
                            ..
                        }
                ))
            )
        };
        if let Some(place) = results.iter().position(closed) {
            // The service is stopping: the turn is settled when it comes back.
            return results
                .into_iter()
                .nth(place)
                .map_or(Ok(()), |result| result.map(|_| ()));
        }
        let entries: Vec<_> = entries
            .into_iter()
            .zip(&results)
            .map(|(e, result)| ended(e, outcome(result)))
            .collect();
        for (letter, entry) in letters.iter().zip(&entries) {
            job.count(letter.id, &entry.outcome);
        }
        job.turn.clear();
        job.bulk.updated_at = self.idem.clock().now();
        self.journal.end(&entries, vec![job.note()?]).await
    }

    /// Finds out what became of a turn that was cut off. Letters that are still open get another
    /// one.
    pub(super) async fn settle(&self, job: &mut Job) -> Result<(), ServiceError> {
        let deed = job.bulk.asked.deed;
        let by = Actor {
            who: Some(job.bulk.who.clone()),
            why: Some(job.bulk.asked.why.clone()),
        };
        let ours = |act: &Action| {
            let same = if deed == BulkDeed::Discard {
                act.kind == ActionKind::Discarded
            } else {
                act.kind == ActionKind::Redriven
            };
            same && act.by == by
        };
        let mut entries = Vec::new();
        let mut again = None;
        for (id, entry) in std::mem::take(&mut job.turn) {
            let fate = match self.idem.dead_letters().get(&id).await? {
                Some(letter) if letter.state == LetterState::Open => {
                    again = again.max(Some(id));
                    Outcome::Refused(
                        "the service stopped before it was done: it has another turn".to_owned(),
                    )
                }
                // A publishing that failed is in the history too: what closed the letter comes
                // last.
                Some(letter) if !letter.history.last().is_some_and(ours) => {
                    job.bulk.skipped += 1;
                    Outcome::Refused("somebody else had closed it".to_owned())
                }
                Some(letter) => match self.cut_off(deed, &letter).await? {
                    None => {
                        job.bulk.done += 1;
                        Outcome::Done
                    }
                    Some(error) => {
                        job.bulk.skipped += 1;
                        job.problem(letter.id, error.to_owned());
                        Outcome::Failed(error.to_owned())
                    }
                },
                None => {
                    job.bulk.skipped += 1;
                    Outcome::Begun
                }
            };
            entries.extend(
                self.journal
                    .entry(entry)
                    .await?
                    .map(|entry| ended(entry, fate)),
            );
        }
        if let Some(again) = again {
            // Closed letters at or after it are passed over: the index shows open ones only, and
            // ids are looked at again.
            job.cursor = Some(successor(again));
        }
        self.journal.end(&entries, vec![job.note()?]).await
    }

    /// What a stop of the service left open of a letter that was redriven, if it left anything.
    async fn cut_off(
        &self,
        deed: BulkDeed,
        letter: &DeadLetter,
    ) -> Result<Option<&'static str>, ServiceError> {
        let id = letter.record_id();
        Ok(match deed {
            BulkDeed::Rearm | BulkDeed::Discard => None,
            BulkDeed::Run => match self.idem.record(&id).await? {
                Some(Record::Settled(settled)) if matches!(settled.end, Settlement::Done(_)) => {
                    None
                }
                _ => Some(
                    "its run was cut off when the service stopped: it goes on when the message comes again, and is a dead \
                     letter again when nobody brings it",
                ),
            },
            BulkDeed::Publish => match self.idem.record(&id).await? {
                // The message has not come yet, so nobody knows whether the broker has it.
                Some(Record::Live(live))
                    if live
                        .redriven
                        .as_ref()
                        .is_some_and(|of| of.letter == letter.id) =>
                {
                    Some(
                        "the service stopped while it was being published: it runs when the broker brings it, and is a dead \
                     letter again when it does not",
                    )
                }
                _ => None,
            },
        })
    }

    /// Reads one bulk act from its note.
    pub(super) fn job(key: &str, value: &[u8]) -> Result<Job, ServiceError> {
        decoded(key, value)
    }
}

fn successor(id: DeadLetterId) -> DeadLetterId {
    DeadLetterId::from_bytes(
        u128::from_be_bytes(*id.as_bytes())
            .saturating_add(1)
            .to_be_bytes(),
    )
}

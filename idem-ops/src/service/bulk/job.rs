//! A bulk job as the ledger stores it, and the letters that it takes next.

use idem_runtime::DeadLetterId;
use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::NoteChange;
use idem_runtime::notes::ExpectedNote;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BulkJob, BulkProblem, Selection};
use crate::service::audit::Outcome;
use crate::service::audit_log::{decoded, encoded};
use crate::service::letters::LetterQuery;
use crate::service::{Inner, ServiceError};

/// The key prefix of the notes with bulk jobs.
pub(super) const PREFIX: &str = "bulk/";
/// The number of problems that are kept.
const PROBLEMS: usize = 20;

/// A bulk job as its note stores it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredJob {
    pub(super) bulk: BulkJob,
    /// The newest letter when the job was requested; later ones are not taken.
    pub(super) newest: Option<DeadLetterId>,
    /// The next letter is older than this one.
    pub(super) cursor: Option<DeadLetterId>,
    /// The letters of the batch in progress, and their entries in the audit log.
    #[serde(rename = "turn")]
    pub(super) batch: Vec<(DeadLetterId, Uuid)>,
    /// Letters of an interrupted batch, which are taken again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) again: Vec<DeadLetterId>,
    /// A cancellation that waits for the end of the batch in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cancel: Option<Cancellation>,
    /// Its note as it was read or written last.
    #[serde(skip)]
    stored: Option<Vec<u8>>,
}

/// A person's cancellation of a job that another replica works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cancellation {
    pub(super) who: String,
    pub(super) why: Option<String>,
}

/// What a bulk job takes next.
pub(super) enum Next {
    /// These letters, newest first.
    Letters(Vec<DeadLetterId>),
    /// No letter matched in the part that was searched; the search continues further back.
    SearchOn,
    /// No letters are left.
    Nothing,
}

impl StoredJob {
    pub(super) fn new(bulk: BulkJob, newest: Option<DeadLetterId>) -> Self {
        Self {
            bulk,
            newest,
            cursor: None,
            batch: Vec::new(),
            again: Vec::new(),
            cancel: None,
            stored: None,
        }
    }

    /// Reads a job from its note.
    pub(super) fn decode(key: &str, value: &[u8]) -> Result<Self, ServiceError> {
        let mut job: Self = decoded(key, value)?;
        job.stored = Some(value.to_vec());
        Ok(job)
    }

    /// Returns the change that stores the job in its note.
    pub(super) fn note(&self) -> Result<NoteChange, ServiceError> {
        let key = note_key(self.bulk.id);
        let value = encoded(&key, self)?;
        Ok(NoteChange::put(key, value))
    }

    /// Returns the job's note as it was read: a write that expects it undoes no other replica's.
    pub(super) fn unchanged(&self) -> ExpectedNote {
        let key = note_key(self.bulk.id);
        match &self.stored {
            Some(value) => ExpectedNote::value(key, value.clone()),
            None => ExpectedNote::absent(key),
        }
    }

    /// Remembers that the job's note is as the job now.
    pub(super) fn was_stored(&mut self) -> Result<(), ServiceError> {
        self.stored = Some(encoded(&note_key(self.bulk.id), self)?);
        Ok(())
    }

    fn take(&mut self, ids: Vec<DeadLetterId>) -> Next {
        let Some(oldest) = ids.last() else {
            return Next::Nothing;
        };
        self.cursor = Some(*oldest);
        Next::Letters(ids)
    }

    /// Takes the next letters, newest first. The cursor moves on, also where none matched and older
    /// ones are left to search.
    pub(super) async fn next(&mut self, inner: &Inner, most: usize) -> Result<Next, LedgerError> {
        if !self.again.is_empty() {
            let most = most.min(self.again.len());
            return Ok(Next::Letters(self.again.drain(..most).collect()));
        }
        let is_left = |id: &DeadLetterId| self.cursor.is_none_or(|cursor| *id < cursor);
        let Some(query) = self.bulk.asked.selection.query() else {
            let ids = self.bulk.asked.selection.ids().iter().copied();
            let ids = ids.filter(is_left).take(most).collect();
            return Ok(self.take(ids));
        };
        let Some(newest) = self.newest else {
            return Ok(Next::Nothing);
        };
        let below = self.cursor.unwrap_or(successor(newest));
        let earlier = inner.earlier_names_of(&self.bulk.asked.selection, &query);
        let found = inner.index.find(&query, &earlier, Some(below), most);
        let Some(floor) = found.reach.floor().filter(|_| found.ids.is_empty()) else {
            return Ok(self.take(found.ids));
        };
        let older = inner
            .older(&query, &earlier, below.min(floor), most)
            .await?;
        match older.looked_at.filter(|_| older.letters.is_empty()) {
            None => Ok(self.take(older.letters.iter().map(|letter| letter.id).collect())),
            looked_at => {
                self.cursor = looked_at;
                Ok(Next::SearchOn)
            }
        }
    }

    pub(super) fn problem(&mut self, letter: DeadLetterId, error: String) {
        if self.bulk.problems.len() < PROBLEMS {
            self.bulk.problems.push(BulkProblem { letter, error });
        }
    }

    /// Counts the outcome of one letter.
    pub(super) fn count(&mut self, letter: DeadLetterId, outcome: &Outcome) {
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

impl Inner {
    /// Returns the earlier names of a selection's handler; a group is of one name only.
    pub(super) fn earlier_names_of(
        &self,
        selection: &Selection,
        query: &LetterQuery,
    ) -> Vec<String> {
        if matches!(selection, Selection::Group { .. }) {
            Vec::new()
        } else {
            self.earlier_names(query)
        }
    }
}

pub(super) fn note_key(id: Uuid) -> String {
    format!("{PREFIX}{id}")
}

/// Returns the id right after this one.
fn successor(id: DeadLetterId) -> DeadLetterId {
    DeadLetterId::from_bytes(
        u128::from_be_bytes(*id.as_bytes())
            .saturating_add(1)
            .to_be_bytes(),
    )
}

//! A bulk job as the ledger stores it, and the letters that it takes next.

use idem_runtime::DeadLetterId;
use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::NoteChange;
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
}

/// What a bulk job takes next.
pub(super) enum Next {
    /// These letters, newest first, and the oldest of them.
    Letters(Vec<DeadLetterId>, DeadLetterId),
    /// No letter matched in the part that was searched; the search continues further back.
    SearchOn,
    /// No letters are left.
    Nothing,
}

impl Next {
    fn from_ids(ids: Vec<DeadLetterId>) -> Self {
        match ids.last().copied() {
            Some(oldest) => Self::Letters(ids, oldest),
            None => Self::Nothing,
        }
    }
}

impl StoredJob {
    /// Reads a job from its note.
    pub(super) fn decode(key: &str, value: &[u8]) -> Result<Self, ServiceError> {
        decoded(key, value)
    }

    /// Returns the change that stores the job in its note.
    pub(super) fn note(&self) -> Result<NoteChange, ServiceError> {
        let key = note_key(self.bulk.id);
        let value = encoded(&key, self)?;
        Ok(NoteChange::put(key, value))
    }

    /// Finds the next letters, newest first. The cursor moves on where none matched and older ones
    /// are left to search.
    pub(super) async fn next(&mut self, inner: &Inner, most: usize) -> Result<Next, LedgerError> {
        let is_left = |id: &DeadLetterId| self.cursor.is_none_or(|cursor| *id < cursor);
        let Some(query) = self.bulk.asked.selection.query() else {
            let ids = self.bulk.asked.selection.ids().iter().copied();
            return Ok(Next::from_ids(ids.filter(is_left).take(most).collect()));
        };
        let Some(newest) = self.newest else {
            return Ok(Next::Nothing);
        };
        let below = self.cursor.unwrap_or(successor(newest));
        let earlier = inner.earlier_names_of(&self.bulk.asked.selection, &query);
        let found = inner.index.find(&query, &earlier, Some(below), most);
        let Some(floor) = found.reach.floor().filter(|_| found.ids.is_empty()) else {
            return Ok(Next::from_ids(found.ids));
        };
        let older = inner
            .older(&query, &earlier, below.min(floor), most)
            .await?;
        match older.looked_at.filter(|_| older.letters.is_empty()) {
            None => Ok(Next::from_ids(
                older.letters.iter().map(|letter| letter.id).collect(),
            )),
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
pub(super) fn successor(id: DeadLetterId) -> DeadLetterId {
    DeadLetterId::from_bytes(
        u128::from_be_bytes(*id.as_bytes())
            .saturating_add(1)
            .to_be_bytes(),
    )
}

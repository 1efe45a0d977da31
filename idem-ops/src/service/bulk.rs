//! One thing done to many letters: slowly enough, with its progress kept in the ledger.

use idem_runtime::{DeadLetterId, clock::Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::audit::Deed;
use super::letters::LetterQuery;

/// Which letters a bulk act takes. Only open ones are, and only those that had died when it was
/// asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Selection {
    /// These, at most 1,000.
    Ids(Vec<DeadLetterId>),
    /// All of one handler with one kind of error.
    Group {
        /// The handler's name in the ledger.
        handler: String,
        /// The kind of error, as the group says it.
        error: String,
    },
    /// All open ones that fit; `after` and `limit` are not used, and `state` is `open`.
    Filter(LetterQuery),
}

impl Selection {
    /// Those that are named one by one.
    pub(super) fn ids(&self) -> &[DeadLetterId] {
        match self {
            Self::Ids(ids) => ids,
            Self::Group { .. } | Self::Filter(_) => &[],
        }
    }
}

/// What a bulk act does to each of its letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkDeed {
    /// Re-arms its key: the next call of it runs.
    #[default]
    Rearm,
    /// Re-arms its key and runs its handler here.
    Run,
    /// Re-arms its key and publishes its message back to the broker that it came from.
    Publish,
    /// Closes it without another run.
    Discard,
}

impl BulkDeed {
    /// What it is to one letter, in the audit log.
    pub(super) fn of_one(self) -> Deed {
        match self {
            Self::Rearm => Deed::Redrive,
            Self::Run => Deed::Run,
            Self::Publish => Deed::Publish,
            Self::Discard => Deed::Discard,
        }
    }

    /// What its beginning and its stop by a person are in the audit log.
    pub(super) fn of_all(self) -> (Deed, Deed) {
        match self {
            Self::Rearm | Self::Run | Self::Publish => (Deed::StartRedrive, Deed::CancelRedrive),
            Self::Discard => (Deed::StartDiscard, Deed::CancelDiscard),
        }
    }
}

/// A bulk act as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBulk {
    /// Which letters.
    pub selection: Selection,
    /// What is done to each; they are re-armed unless said.
    #[serde(default)]
    pub deed: BulkDeed,
    /// How many letters a second at most, from 0.01 to 1,000; 10 unless said.
    #[serde(default = "usual_rate")]
    pub rate: f64,
    /// Why, for whoever asks later.
    pub why: String,
}

fn usual_rate() -> f64 {
    10.0
}

/// A bulk act and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bulk {
    /// Its id; ids sort by time.
    pub id: Uuid,
    /// Who asked for it.
    pub who: String,
    /// What was asked for.
    pub asked: NewBulk,
    /// Where it stands.
    pub state: BulkState,
    /// How many letters it takes.
    pub total: u64,
    /// Whether there were older letters than the index held, which `total` did not count. They have
    /// their turn all the same.
    #[serde(default)]
    pub at_least: bool,
    /// Letters that were re-armed, published, ran and succeeded, or were discarded.
    pub done: u64,
    /// Letters that ran and failed, or to which it could not be done.
    pub failed: u64,
    /// Letters that somebody else had closed meanwhile, or whose run or publishing a stop of the
    /// service cut off.
    pub skipped: u64,
    /// What went wrong, the first 20 of it.
    pub problems: Vec<BulkProblem>,
    /// When it was asked for.
    pub at: Timestamp,
    /// When this was written last.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Bulk {
    pub(super) fn end(&mut self, state: BulkState, now: Timestamp) {
        (self.state, self.updated_at, self.ended_at) = (state, now, Some(now));
    }
}

/// Where a bulk act stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BulkState {
    /// It goes on, after a restart too.
    Running,
    /// Every letter had its turn.
    Finished,
    /// A person stopped it; what was done by then stays done.
    Cancelled,
}

/// One letter with which a bulk act did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkProblem {
    /// The letter.
    pub letter: DeadLetterId,
    /// What went wrong.
    pub error: String,
}

/// One page of bulk acts, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkPage {
    /// At most as many as were asked for.
    pub bulks: Vec<Bulk>,
    /// What to ask for `after` to get the next page; nothing on the last one.
    pub next: Option<Uuid>,
}

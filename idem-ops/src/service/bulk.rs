//! One thing done to many letters: slowly enough, with its progress kept in the ledger.

use idem_runtime::{DeadLetterId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::audit::AuditAction;
use super::letters::LetterQuery;

/// Which letters a bulk job takes. Only open ones are, and only those that had died when it was
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

/// What a bulk job does to each of its letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
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

impl BulkAction {
    /// What it is to one letter, in the audit log.
    pub(super) fn of_one(self) -> AuditAction {
        match self {
            Self::Rearm => AuditAction::Redrive,
            Self::Run => AuditAction::Run,
            Self::Publish => AuditAction::Publish,
            Self::Discard => AuditAction::Discard,
        }
    }

    /// What its beginning and its stop by a person are in the audit log.
    pub(super) fn of_all(self) -> (AuditAction, AuditAction) {
        match self {
            Self::Rearm | Self::Run | Self::Publish => (AuditAction::StartRedrive, AuditAction::CancelRedrive),
            Self::Discard => (AuditAction::StartDiscard, AuditAction::CancelDiscard),
        }
    }
}

/// A bulk job as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBulkJob {
    /// Which letters.
    pub selection: Selection,
    /// What is done to each; they are re-armed unless said.
    #[serde(default, rename = "deed")]
    pub action: BulkAction,
    /// How many letters a second at most, from 0.01 to 1,000; 10 unless said.
    #[serde(default = "usual_rate")]
    pub rate: f64,
    /// Why, for whoever asks later.
    pub why: String,
}

fn usual_rate() -> f64 {
    10.0
}

/// A bulk job and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkJob {
    /// Its id; ids sort by time.
    pub id: Uuid,
    /// Who asked for it.
    pub who: String,
    /// What was asked for.
    pub asked: NewBulkJob,
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

impl BulkJob {
    pub(super) fn end(&mut self, state: BulkState, now: Timestamp) {
        (self.state, self.updated_at, self.ended_at) = (state, now, Some(now));
    }
}

/// Where a bulk job stands.
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

/// One letter with which a bulk job did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkProblem {
    /// The letter.
    pub letter: DeadLetterId,
    /// What went wrong.
    pub error: String,
}

/// One page of bulk jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkPage {
    /// At most as many as were asked for.
    pub bulks: Vec<BulkJob>,
    /// What to ask for `after` to get the next page; nothing on the last one.
    pub next: Option<Uuid>,
}

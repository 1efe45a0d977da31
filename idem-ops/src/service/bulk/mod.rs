//! Bulk jobs: one action on many letters, at a limited rate, with its progress in the ledger.
//!
//! A job's note is the job: each replica reads it before it uses it, and writes it only if it is
//! still as it was read. A lease in the notes says which replica works on it; the others stand by.

mod cancel;
mod estimate;
mod job;
mod jobs;
mod recovery;
mod seats;
mod worker;

use idem_runtime::DeadLetterId;
use idem_runtime::clock::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::audit::AuditAction;
use super::letter_action::LetterAction;
use super::letters::{LetterQuery, StateFilter};

pub use estimate::BulkEstimate;
pub(super) use seats::Seats;

/// The letters that a bulk job takes: of these, the ones that are open and had died when it was
/// requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Selection {
    /// These letters, at most 1,000.
    Ids(Vec<DeadLetterId>),
    /// All letters of one handler with one kind of error.
    Group {
        /// The handler's name in the ledger.
        handler: String,
        /// The kind of error, as [`Group::error`](super::Group::error) has it.
        error: String,
    },
    /// All open letters that match; `after`, `limit` and `state` are ignored.
    Filter(LetterQuery),
}

impl Selection {
    /// Returns the letters that are listed one by one.
    fn ids(&self) -> &[DeadLetterId] {
        match self {
            Self::Ids(ids) => ids,
            Self::Group { .. } | Self::Filter(_) => &[],
        }
    }

    /// Returns the query for the open letters of a group or a filter.
    fn query(&self) -> Option<LetterQuery> {
        match self {
            Self::Ids(_) => None,
            Self::Group { handler, error } => Some(LetterQuery {
                handler: Some(handler.clone()),
                error: Some(error.clone()),
                ..LetterQuery::default()
            }),
            Self::Filter(query) => Some(LetterQuery {
                state: StateFilter::Open,
                after: None,
                limit: None,
                ..query.clone()
            }),
        }
    }
}

/// The action of a bulk job on each of its letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Re-arms its key: the next call runs.
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
    /// Returns the action on one letter.
    fn letter_action(self) -> LetterAction {
        match self {
            Self::Rearm => LetterAction::Rearm,
            Self::Run => LetterAction::Run,
            Self::Publish => LetterAction::Publish,
            Self::Discard => LetterAction::Discard,
        }
    }

    /// Returns what the audit log calls the start of such a job.
    fn audited_start(self) -> AuditAction {
        match self {
            Self::Rearm | Self::Run | Self::Publish => AuditAction::StartRedrive,
            Self::Discard => AuditAction::StartDiscard,
        }
    }

    /// Returns what the audit log calls the cancellation of such a job.
    fn audited_cancel(self) -> AuditAction {
        match self {
            Self::Rearm | Self::Run | Self::Publish => AuditAction::CancelRedrive,
            Self::Discard => AuditAction::CancelDiscard,
        }
    }
}

/// A request for a bulk job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBulkJob {
    /// The letters.
    pub selection: Selection,
    /// The action on each letter; [`BulkAction::Rearm`] by default.
    #[serde(default, rename = "deed")]
    pub action: BulkAction,
    /// The maximum number of letters per second, from 0.01 to 1,000; 10 by default.
    #[serde(default = "NewBulkJob::default_rate")]
    pub rate: f64,
    /// The reason, for the audit log and the letters' histories.
    pub why: String,
}

impl NewBulkJob {
    /// The default rate, in letters per second.
    pub const RATE: f64 = 10.0;

    fn default_rate() -> f64 {
        Self::RATE
    }
}

/// A bulk job and its progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkJob {
    /// Its id; ids sort by time.
    pub id: Uuid,
    /// The person who requested it.
    pub who: String,
    /// The request.
    pub asked: NewBulkJob,
    /// Its state.
    pub state: BulkState,
    /// The number of letters that it takes.
    pub total: u64,
    /// Whether the job also takes letters that are older than the index, which `total` does not
    /// count.
    #[serde(default)]
    pub at_least: bool,
    /// Letters that were re-armed, published or discarded, or that ran and succeeded.
    pub done: u64,
    /// Letters that ran and failed, or that could not be acted on.
    pub failed: u64,
    /// Letters that were closed by another action meanwhile, or whose run or publishing was
    /// interrupted by a stop of the service.
    pub skipped: u64,
    /// The first 20 problems.
    pub problems: Vec<BulkProblem>,
    /// When it was requested.
    pub at: Timestamp,
    /// When its progress was stored last.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many seconds it takes from `updated_at` on, about. Set while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

impl BulkJob {
    /// Returns how long a running job still takes.
    pub fn left(&self) -> Option<BulkEstimate> {
        BulkEstimate::of(self)
    }

    /// Adds the estimate for those who read the job; its note does not have it.
    fn estimated(mut self) -> Self {
        self.seconds_left = self.left().map(|left| left.takes().as_secs());
        self
    }

    fn end(&mut self, state: BulkState, now: Timestamp) {
        (self.state, self.updated_at, self.ended_at) = (state, now, Some(now));
    }
}

/// The state of a bulk job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BulkState {
    /// It continues, after a restart too.
    Running,
    /// Every letter has been handled.
    Finished,
    /// A person cancelled it; what it had done stays done.
    Cancelled,
}

/// A letter that a bulk job could not finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkProblem {
    /// The letter.
    pub letter: DeadLetterId,
    /// The problem.
    pub error: String,
}

/// One page of bulk jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BulkPage {
    /// The bulk jobs, at most `limit`.
    pub bulks: Vec<BulkJob>,
    /// The `after` of the next page; `None` on the last one.
    pub next: Option<Uuid>,
}

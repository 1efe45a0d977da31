//! Redrives of many letters: slowly enough, with their progress kept in the ledger.

use idem_runtime::{DeadLetterId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::letters::LetterQuery;

/// Which letters a bulk redrive takes. Only open ones are, and only those that had died when it was asked for.
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

/// A bulk redrive as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRedrive {
    /// Which letters.
    pub selection: Selection,
    /// How many letters a second at most, from 0.01 to 1,000; 10 unless said.
    #[serde(default = "usual_rate")]
    pub rate: f64,
    /// Whether to run them here, and not only re-arm their keys.
    #[serde(default)]
    pub run: bool,
    /// Why, for whoever asks later.
    pub why: String,
}

fn usual_rate() -> f64 {
    10.0
}

/// A bulk redrive and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Redrive {
    /// Its id; ids sort by time.
    pub id: Uuid,
    /// Who asked for it.
    pub who: String,
    /// What was asked for.
    pub asked: NewRedrive,
    /// Where it stands.
    pub state: RedriveState,
    /// How many letters it takes.
    pub total: u64,
    /// Letters that were re-armed, or ran and succeeded.
    pub done: u64,
    /// Letters that ran and failed, or could not be redriven.
    pub failed: u64,
    /// Letters that somebody else had closed meanwhile, or whose run a stop of the service cut off.
    pub skipped: u64,
    /// What went wrong, the first 20 of it.
    pub problems: Vec<RedriveProblem>,
    /// When it was asked for.
    pub at: Timestamp,
    /// When this was written last.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Where a bulk redrive stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedriveState {
    /// It goes on, after a restart too.
    Running,
    /// Every letter had its turn.
    Finished,
    /// A person stopped it; what was redriven by then stays redriven.
    Cancelled,
}

/// One letter that a bulk redrive could not redrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedriveProblem {
    /// The letter.
    pub letter: DeadLetterId,
    /// What went wrong.
    pub error: String,
}

/// One page of bulk redrives, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedrivePage {
    /// At most as many as were asked for.
    pub redrives: Vec<Redrive>,
    /// What to ask for `after` to get the next page; nothing on the last one.
    pub next: Option<Uuid>,
}

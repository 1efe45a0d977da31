//! Who did what, when and why, in the order in which it happened. Entries are kept for 90 days.

use idem_runtime::{DeadLetterId, clock::Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Which page of a list of the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The page after the one that ended with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Uuid>,
    /// How many at most, from 1 to 500; 100 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// One page of the audit log, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditPage {
    /// At most as many as were asked for.
    pub entries: Vec<AuditEntry>,
    /// What to ask for `after` to get the next page; nothing on the last one.
    pub next: Option<Uuid>,
}

/// One change that a person made or tried to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Its id; ids sort in the order in which things were done.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What.
    pub what: Deed,
    /// Why, in their words.
    pub why: Option<String>,
    /// The letter, where it was done to one.
    pub letter: Option<DeadLetterId>,
    /// Its handler.
    pub handler: Option<String>,
    /// Its idempotency key.
    pub key: Option<String>,
    /// The bulk act that it belongs to.
    pub bulk: Option<Uuid>,
    /// What it came to.
    pub outcome: Outcome,
}

/// What people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Deed {
    /// Re-armed a letter's key.
    Redrive,
    /// Re-armed a letter's key and ran it.
    Run,
    /// Re-armed a letter's key and published its message back to the broker that it came from.
    Publish,
    /// Changed a payload; what it was before is in the letter's history.
    Edit,
    /// Closed a letter without another run.
    Discard,
    /// Undid a discard.
    Restore,
    /// Began a redrive of many letters.
    StartRedrive,
    /// Stopped one.
    CancelRedrive,
    /// Began a discard of many letters.
    StartDiscard,
    /// Stopped one.
    CancelDiscard,
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was begun. When this stays, the process ended in the middle: the letter's own history
    /// knows.
    Begun,
    /// It was done.
    Done,
    /// It was done, and the letter's run failed.
    Failed(String),
    /// It was refused, and nothing changed.
    Refused(String),
}

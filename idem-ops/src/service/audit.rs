//! The audit log: who did what, when and why. Entries are kept for 90 days.

use std::fmt;

use idem_runtime::{DeadLetterId, clock::Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A page of a list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The last entry of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Uuid>,
    /// The maximum number of entries, from 1 to 500; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// One page of the audit log, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditPage {
    /// The entries, at most `limit`.
    pub entries: Vec<AuditEntry>,
    /// The `after` of the next page; `None` on the last one.
    pub next: Option<Uuid>,
}

/// One change that a person made or tried to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Its id; ids sort in the order of the actions.
    pub id: Uuid,
    /// When it was made.
    pub at: Timestamp,
    /// The person.
    pub who: String,
    /// The action.
    pub what: AuditAction,
    /// The person's reason.
    pub why: Option<String>,
    /// The letter, for an action on one.
    pub letter: Option<DeadLetterId>,
    /// The handler: the letter's, or the one that was paused or resumed.
    pub handler: Option<String>,
    /// The letter's idempotency key.
    pub key: Option<String>,
    /// The bulk job that it is a part of.
    pub bulk: Option<Uuid>,
    /// Its outcome.
    pub outcome: Outcome,
}

/// An action of a person, as the audit log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditAction {
    /// Re-armed a letter's key.
    Redrive,
    /// Re-armed a letter's key and ran it.
    Run,
    /// Re-armed a letter's key and published its message back to the broker that it came from.
    Publish,
    /// Replaced a payload; the old one is in the letter's history.
    Edit,
    /// Closed a letter without another run.
    Discard,
    /// Erased what the ledger kept of one message.
    Erase,
    /// Undid a discard.
    Restore,
    /// Started a redrive of many letters.
    StartRedrive,
    /// Cancelled one.
    CancelRedrive,
    /// Started a discard of many letters.
    StartDiscard,
    /// Cancelled one.
    CancelDiscard,
    /// Set a redrive rule; the reason begins with its name.
    SetRule,
    /// Removed one.
    RemoveRule,
    /// Paused a handler.
    Pause,
    /// Resumed one.
    Resume,
    /// Agreed that the ledger goes on without what its server lost; the reason begins with what it
    /// was.
    AcceptLoss,
}

/// The outcome of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It has begun. An entry that stays so is of a process that ended in the middle: the letter's
    /// history says whether the change was made.
    Begun,
    /// It was done.
    Done,
    /// It was done, and the letter's run failed.
    Failed(String),
    /// It was refused, and nothing changed.
    Refused(String),
}

impl Outcome {
    /// Returns the outcome of an action with this result.
    pub(super) fn of<T, E: fmt::Display>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(error) => Self::Refused(format!("{error:#}")),
        }
    }
}

//! Open letters by handler and kind of error.

use idem_runtime::{DeadLetterId, clock::Timestamp};
use serde::{Deserialize, Serialize};

/// A query for groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupQuery {
    /// Only groups of this handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// The maximum number of groups, from 1 to 500; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The groups with the most open letters, the largest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupPage {
    /// The groups, at most `limit`.
    pub groups: Vec<Group>,
    /// The number of all groups.
    pub total: u64,
    /// The number of open letters in all groups.
    pub open: u64,
    /// Whether all letters have been read since the start; until then counts are too small.
    pub complete: bool,
    /// Whether there are letters older than the index, which are not counted.
    #[serde(default)]
    pub at_least: bool,
}

/// Open letters of one handler with one kind of error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// The handler's name in the ledger.
    pub handler: String,
    /// The kind of error: the text without numbers, ids and quoted parts.
    pub error: String,
    /// The number of open letters.
    pub count: u64,
    /// When the oldest of them became a dead letter.
    pub since: Timestamp,
    /// When the newest of them became a dead letter.
    pub latest: Timestamp,
    /// The newest letters, newest first, at most 5.
    pub newest: Vec<DeadLetterId>,
    /// Whether its handler can be run here.
    pub can_run: bool,
}

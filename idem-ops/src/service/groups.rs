//! Open letters by handler and kind of error.

use idem_runtime::{DeadLetterId, clock::Timestamp};
use serde::{Deserialize, Serialize};

/// Which groups to show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupQuery {
    /// Only this handler's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// How many at most, the largest first, from 1 to 500; 100 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The groups with the most open letters, the largest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupPage {
    /// At most as many as were asked for.
    pub groups: Vec<Group>,
    /// How many groups there are in all.
    pub total: u64,
    /// How many open letters there are in all of them.
    pub open: u64,
    /// Whether the letters have been read through since the start; until then counts are too small.
    pub complete: bool,
    /// Whether there are older letters than the index holds, which are not counted here.
    #[serde(default)]
    pub at_least: bool,
}

/// Open letters of one handler with one kind of error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// The handler's name in the ledger.
    pub handler: String,
    /// The kind of error: the text with numbers, ids and quoted parts blanked.
    pub error: String,
    /// How many letters are open.
    pub count: u64,
    /// When the first of them died.
    pub since: Timestamp,
    /// When the last of them died.
    pub latest: Timestamp,
    /// The newest of them, newest first, at most 5.
    pub newest: Vec<DeadLetterId>,
    /// Whether its handler can be run from here.
    pub can_run: bool,
}

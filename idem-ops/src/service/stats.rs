//! The service's figures: now, and minute by minute.

use std::collections::BTreeMap;

use idem_runtime::clock::Timestamp;
use idem_runtime::pause::Pause;
use serde::{Deserialize, Serialize};

use super::backlog::Backlog;
pub use crate::metrics::{Count, Latency, MINUTES};

/// The service's figures. Counts are of this process, since its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// When this was read.
    pub at: Timestamp,
    /// When counting started.
    pub since: Timestamp,
    /// Why there are no figures of calls, attempts and latencies, if the process has another
    /// metrics recorder.
    pub no_figures: Option<String>,
    /// Open dead letters.
    pub open: u64,
    /// Groups of open dead letters.
    pub groups: u64,
    /// The messages that wait.
    #[serde(default)]
    pub backlog: Backlog,
    /// The handlers that are paused, on all processes of the ledger.
    #[serde(default)]
    pub pauses: Vec<Pause>,
    /// The ledger's size on disk in bytes, if it is known.
    pub ledger_bytes: Option<u64>,
    /// Calls by handler and outcome.
    pub calls: Vec<Count>,
    /// Ended attempts by handler and outcome.
    pub attempts: Vec<Count>,
    /// Time in the bodies, per attempt.
    pub body: Latency,
    /// Time of the ledger's group commits, sync included.
    pub commit: Latency,
    /// The last minutes, oldest first; the last one is not over.
    pub minutes: Vec<Minute>,
}

/// One minute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Minute {
    /// Its beginning.
    pub at: Timestamp,
    /// Calls by what the caller got.
    pub calls: BTreeMap<String, u64>,
    /// Ended attempts by outcome.
    pub attempts: BTreeMap<String, u64>,
    /// Time in the bodies.
    pub body: Latency,
    /// Time of the group commits.
    pub commit: Latency,
    /// Open dead letters at its end.
    pub open: u64,
    /// What the ledger took on the disk at its end, in bytes.
    pub ledger_bytes: Option<u64>,
}

/// A query for figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsQuery {
    /// The number of minutes, up to [`MINUTES`]; 60 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<usize>,
}

/// Whether the service works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether the ledger answers.
    pub up: bool,
    /// Why it does not answer, and what to do. It is shown only after a login.
    pub problem: Option<String>,
}

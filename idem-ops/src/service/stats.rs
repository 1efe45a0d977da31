//! The service's figures: now, and minute by minute.

use std::collections::BTreeMap;

use idem_runtime::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// How many minutes are remembered: a day.
pub const MINUTES: usize = 1440;

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

/// So often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Count {
    /// The handler's name in the ledger.
    pub handler: String,
    /// `done`, `replayed`, `failed`, `dead_lettered`, … as in the metrics.
    pub outcome: String,
    /// How often.
    pub count: u64,
}

/// How long something took, in seconds. Quantiles come from a sketch
/// ([DDSketch](https://arxiv.org/abs/1908.10693)): each is off by at most 1 % of itself, between a
/// nanosecond and years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half of them took at most this.
    pub p50: f64,
    /// 90 % of them.
    pub p90: f64,
    /// 99 % of them.
    pub p99: f64,
    /// All of them.
    pub max: f64,
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

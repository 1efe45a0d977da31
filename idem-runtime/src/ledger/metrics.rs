//! Metrics of ledgers.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

/// Counts a group of steps that was committed together.
pub(super) fn commit(took: Duration, steps: usize) {
    histogram!("idem_commit_seconds").record(took);
    // A group holds at most a thousand.
    histogram!("idem_commit_group_size").record(u32::try_from(steps).unwrap_or(u32::MAX));
}

/// Counts a call of a store that failed.
pub(super) fn store_failed(kind: &'static str) {
    counter!("idem_store_errors_total", "kind" => kind).increment(1);
}

/// Counts a step that another process overtook.
pub(super) fn overtaken() {
    counter!("idem_steps_overtaken_total").increment(1);
}

/// Counts a life that this process begins as a runner.
pub(super) fn life_begun() {
    counter!("idem_runner_lives_total").increment(1);
}

/// Sets the number of calls that wait for a record that runs.
pub(super) fn calls_waiting(count: usize) {
    gauge!("idem_calls_waiting").set(u32::try_from(count).unwrap_or(u32::MAX));
}

//! Metrics of group commit.

use std::time::Duration;

use metrics::histogram;

/// Counts a committed group.
pub(super) fn commit(took: Duration, steps: usize) {
    histogram!("idem_commit_seconds").record(took);
    // A group holds at most a thousand.
    histogram!("idem_commit_group_size").record(u32::try_from(steps).unwrap_or(u32::MAX));
}

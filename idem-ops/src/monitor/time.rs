//! Time that may have stepped back.

use std::time::Duration;

use idem_runtime::clock::Timestamp;

/// Returns whether `limit` has passed since `then`. A time in the future is from before the clock
/// stepped back, and counts as passed.
pub(super) fn over(then: Timestamp, now: Timestamp, limit: Duration) -> bool {
    then > now || passed(then, now) >= limit
}

/// Returns the time since `then`; zero if the clock stepped back.
pub(super) fn passed(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

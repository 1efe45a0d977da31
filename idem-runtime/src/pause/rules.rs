//! When a handler pauses by itself, and how long until it is tried again.

use std::time::Duration;

/// When a handler pauses by itself, and how long until one message is let through to see.
///
/// ```
/// use std::time::Duration;
/// use idem_runtime::{Idem, pause::PauseRules};
/// let rules = PauseRules::default()
///     .outages(10, 5) // ten attempts in a row, of five keys
///     .failures(50, Duration::from_secs(10)) // fifty keys, over ten seconds
///     .wait(Duration::from_secs(2), Duration::from_secs(60));
/// let builder = Idem::builder().pause(rules);
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct PauseRules {
    pub(super) by_outages: Option<(u32, usize)>,
    pub(super) by_failures: Option<(usize, Duration)>,
    first: Duration,
    longest: Duration,
}

impl Default for PauseRules {
    fn default() -> Self {
        Self {
            by_outages: Some((5, 3)),
            by_failures: Some((12, Duration::ZERO)),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
        }
    }
}

impl PauseRules {
    /// Sets how many attempts in a row have to meet an outage, and of how many different keys they
    /// have to be (default: 5, of 3 keys). Only `outage = path` says that an error is an outage.
    pub fn outages(mut self, in_a_row: u32, keys: u32) -> Self {
        self.by_outages = Some((in_a_row.max(1), at_least_one(keys)));
        self
    }

    /// Sets how many different keys have to fail without a success between them, and over how much
    /// time (default: 12, over none). This is for handlers without `outage`, and counts only
    /// what a consumer delivers; permanent errors do not count.
    pub fn failures(mut self, keys: u32, over: Duration) -> Self {
        self.by_failures = Some((at_least_one(keys), over));
        self
    }

    /// Makes failures that were not said to be outages pause nothing.
    pub fn ignore_failures(mut self) -> Self {
        self.by_failures = None;
        self
    }

    /// Sets the time until one message is let through to see, which doubles each time that it fails,
    /// and its limit (default: 1 second, up to 30).
    pub fn wait(mut self, first: Duration, longest: Duration) -> Self {
        (self.first, self.longest) = (first, longest.max(first));
        self
    }

    /// Makes no handler pause by itself. Pauses by hand hold all the same.
    pub fn off(mut self) -> Self {
        (self.by_outages, self.by_failures) = (None, None);
        self
    }

    /// Returns the time until the next message is let through, after this many that failed.
    pub(super) fn wait_after(&self, probes: u32) -> Duration {
        let doubled = 1_u32.checked_shl(probes).unwrap_or(u32::MAX);
        let wait = self.first.saturating_mul(doubled).min(self.longest);
        // Replicas, and handlers that need the same, are not let through at one time.
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

fn at_least_one(keys: u32) -> usize {
    usize::try_from(keys.max(1)).unwrap_or(usize::MAX)
}

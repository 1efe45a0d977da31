//! Pauses between attempts to reach a broker or a ledger that fails.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Growing pauses with jitter, up to a longest one.
#[derive(Debug)]
pub(crate) struct Backoff {
    growing: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn up_to(longest: Duration) -> Self {
        let growing = ExponentialBuilder::default().with_min_delay(Duration::from_millis(100));
        let growing = growing
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times()
            .build();
        Self { growing, longest }
    }

    pub(crate) fn next(&mut self) -> Duration {
        // `without_max_times` has no end.
        self.growing.next().unwrap_or(self.longest)
    }
}

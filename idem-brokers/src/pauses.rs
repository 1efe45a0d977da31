//! Pauses between attempts to reach a broker or a ledger in trouble.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Pauses that grow, with jitter, up to a longest one.
#[derive(Debug)]
pub(crate) struct Pauses {
    growing: ExponentialBackoff,
    longest: Duration,
}

impl Pauses {
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
        // It has no last one.
        self.growing.next().unwrap_or(self.longest)
    }
}

//! While nothing can be recorded, nothing is taken.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The longest pause, so that a broker or a disk that is back is not left waiting.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses that grow, with jitter, and start over when all is well.
#[derive(Debug)]
pub(super) struct Pauses(ExponentialBackoff);

impl Pauses {
    pub(super) fn new() -> Self {
        let growing = ExponentialBuilder::default().with_min_delay(Duration::from_millis(100));
        Self(growing.with_max_delay(LONGEST).with_jitter().without_max_times().build())
    }

    pub(super) fn next(&mut self) -> Duration {
        // It has no last one.
        self.0.next().unwrap_or(LONGEST)
    }
}

/// Shut by trouble, for longer each time; opened by the first message that can be recorded again.
#[derive(Debug)]
pub(super) struct Gate(Mutex<Shut>);

#[derive(Debug)]
struct Shut {
    until: Option<Instant>,
    pauses: Pauses,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Shut { until: None, pauses: Pauses::new() }))
    }

    /// There was trouble; says how long nothing is taken from now on.
    pub(super) fn shut(&self) -> Duration {
        let (mut shut, now) = (self.0.lock(), Instant::now());
        // All that were in flight run into the same trouble, which counts once.
        if let Some(until) = shut.until.filter(|until| *until > now) {
            return until - now;
        }
        let pause = shut.pauses.next();
        shut.until = Some(now + pause);
        pause
    }

    /// All is well.
    pub(super) fn open(&self) {
        let mut shut = self.0.lock();
        if shut.until.is_some() {
            *shut = Shut { until: None, pauses: Pauses::new() };
        }
    }

    /// Until when nothing is taken.
    pub(super) fn shut_until(&self) -> Option<Instant> {
        self.0.lock().until.filter(|until| *until > Instant::now())
    }
}

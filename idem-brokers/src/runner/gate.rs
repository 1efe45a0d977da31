//! While nothing can be recorded, nothing is taken.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::pauses::Pauses;

/// The longest pause, so that a broker or a disk that is back is not left waiting.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

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
        Self(Mutex::new(Shut {
            until: None,
            pauses: Pauses::up_to(LONGEST),
        }))
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
            *shut = Shut {
                until: None,
                pauses: Pauses::up_to(LONGEST),
            };
        }
    }

    /// Until when nothing is taken.
    pub(super) fn shut_until(&self) -> Option<Instant> {
        self.0.lock().until.filter(|until| *until > Instant::now())
    }
}

//! Stops taking messages while nothing can be recorded.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// The longest pause: a broker or a disk that works again should not wait longer.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Opens for longer with each failure, and closes with the first message that is recorded again.
#[derive(Debug)]
pub(super) struct CircuitBreaker(Mutex<State>);

#[derive(Debug)]
struct State {
    open_until: Option<Instant>,
    backoff: Backoff,
}

impl State {
    fn closed() -> Self {
        Self {
            open_until: None,
            backoff: Backoff::up_to(LONGEST),
        }
    }
}

impl CircuitBreaker {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State::closed()))
    }

    /// Opens after a failure, and returns for how long.
    pub(super) fn trip(&self) -> Duration {
        let (mut state, now) = (self.0.lock(), Instant::now());
        // All messages in flight meet the same failure, which counts once.
        if let Some(until) = state.open_until.filter(|until| *until > now) {
            return until - now;
        }
        let pause = state.backoff.next();
        state.open_until = Some(now + pause);
        pause
    }

    /// Closes after a success.
    pub(super) fn reset(&self) {
        let mut state = self.0.lock();
        if state.open_until.is_some() {
            *state = State::closed();
        }
    }

    /// Returns until when no message is taken, if that is in the future.
    pub(super) fn open_until(&self) -> Option<Instant> {
        self.0
            .lock()
            .open_until
            .filter(|until| *until > Instant::now())
    }
}

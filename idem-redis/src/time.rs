//! Times as the scripts know them: in microseconds after 1970.

use std::time::{Duration, Instant};

use idem_runtime::ledger::shared::LATEST;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// How much earlier than [`LATEST`] a request has to arrive.
const MARGIN: Duration = Duration::from_secs(10);

/// Returns a time in microseconds. What is finer is rounded up, so that nothing is due early.
pub(crate) fn micros(time: Timestamp) -> i64 {
    let just_below = SignedDuration::from_nanos(999);
    time.checked_add(just_below)
        .unwrap_or(time)
        .as_microsecond()
}

/// Returns the time that [`micros`] was given, up to its rounding.
pub(crate) fn time(micros: i64) -> Timestamp {
    let end = if micros > 0 {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    };
    Timestamp::from_microsecond(micros).unwrap_or(end)
}

/// The latest of the server's times, and when it was told.
#[derive(Debug)]
pub(crate) struct ToldTime(Mutex<(Timestamp, Instant)>);

impl Default for ToldTime {
    fn default() -> Self {
        Self(Mutex::new((Timestamp::UNIX_EPOCH, Instant::now())))
    }
}

impl ToldTime {
    /// Notes the server's time, and returns the latest that it told.
    pub(crate) fn tell(&self, now: Timestamp) -> Timestamp {
        let mut told = self.0.lock();
        if now >= told.0 {
            *told = (now, Instant::now());
        }
        told.0
    }

    pub(crate) fn told(&self) -> Timestamp {
        self.0.lock().0
    }

    /// Returns the latest of the server's times at which a request may take place that is made now.
    /// What the server has not told since counts from when it did.
    pub(crate) fn latest(&self) -> Timestamp {
        let (now, at) = *self.0.lock();
        let left = LATEST.saturating_sub(MARGIN);
        now.checked_add(at.elapsed() + left)
            .unwrap_or(Timestamp::MAX)
    }
}

//! The clock: the only place that asks the system for the time.

use std::pin::Pin;
use std::time::Duration;

/// A point in time, in UTC.
pub use jiff::Timestamp;

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The source of the time, and of timers.
///
/// The default is the system's clock; tests use `testing::ManualClock`.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
    /// Waits until `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The system's clock. Its timers belong to no executor, so a handler may be awaited on any of
/// them.
pub(crate) struct SystemClock;

/// The longest single sleep; a longer one is several.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut left = duration;
            while !left.is_zero() {
                let nap = left.min(LONGEST);
                futures_timer::Delay::new(nap).await;
                left -= nap;
            }
        })
    }
}

/// Returns `start` plus `duration`, or the latest timestamp if that is out of range.
pub(crate) fn after(start: Timestamp, duration: Duration) -> Timestamp {
    start.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns the time from `now` to `then`, or zero when `then` has passed.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

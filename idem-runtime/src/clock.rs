//! Time comes through a trait; this is the only file that asks the system for it.

use std::pin::Pin;
use std::time::Duration;

/// A point in time, in UTC.
pub use jiff::Timestamp;

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where idem takes the time from, and what it sleeps on.
///
/// The system's clock unless a test gives another: see `testing::ManualClock`.
pub trait Clock: Send + Sync + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;
    /// Ends when `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The system's clock. Its timers belong to no executor, so that a handler may be awaited on any,
/// and outlives all.
pub(crate) struct SystemClock;

/// The longest sleep; whoever waits longer asks again.
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

/// `start` and then `duration`, or the end of time where that cannot be told.
pub(crate) fn after(start: Timestamp, duration: Duration) -> Timestamp {
    start.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// How long from `now` to `then`; nothing when it has passed.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

//! Time comes through a trait; this is the only file that asks the system for it.

use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;

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

/// The system's clock. Its timers run on idem's own background thread, so that a handler may be awaited on any executor.
pub(crate) struct SystemClock {
    pub(crate) timers: Handle,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let _inside = self.timers.enter();
        Box::pin(tokio::time::sleep(duration))
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

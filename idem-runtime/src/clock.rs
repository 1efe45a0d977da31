//! The clock: the only place that asks the system for the time.

use std::pin::Pin;
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

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

/// The system's clock. Its timers belong to no executor of the service's, so a handler may be awaited
/// on any of them.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let _there = TIMERS.enter();
        Box::pin(tokio::time::sleep(duration))
    }
}

/// How soon a timer ends at the latest, so that one that begins is seldom the first to end.
const TICK: Duration = Duration::from_secs(1);

/// The runtime of the timers, of all Idems of the process and without an end. Its thread is woken when a
/// timer is the first to end, not by each that begins: most are dropped before.
#[expect(
    clippy::expect_used,
    reason = "std's `spawn` and tokio's runtimes panic there too"
)]
static TIMERS: LazyLock<Handle> = LazyLock::new(|| {
    let (built, handle) = mpsc::sync_channel(1);
    let run = move || {
        let runtime = Builder::new_current_thread().enable_time().build();
        if let Ok(runtime) = runtime {
            let _ = built.send(runtime.handle().clone());
            runtime.block_on(async {
                // While there is none at all, each that begins is the first.
                loop {
                    tokio::time::sleep(TICK).await;
                }
            });
        }
    };
    let thread = std::thread::Builder::new().name("idem-timers".to_owned());
    let started = thread.spawn(run).ok().and_then(|_| handle.recv().ok());
    started.expect("the operating system gives no thread for idem's timers")
});

/// Returns `start` plus `duration`, or the latest timestamp if that is out of range.
pub(crate) fn after(start: Timestamp, duration: Duration) -> Timestamp {
    start.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns the time from `now` to `then`, or zero when `then` has passed.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

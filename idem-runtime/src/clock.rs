//! The clock: the only place that asks the system for the time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{OnceLock, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
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
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if let Some(timers) = timers() {
            let _there = timers.enter();
            return Box::pin(tokio::time::sleep(duration));
        }
        // Where the system has no thread left, a timer ends when its future is polled for another
        // reason.
        let begun = Instant::now();
        Box::pin(poll_fn(move |_| {
            if begun.elapsed() >= duration {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }
}

/// How soon a timer ends at the latest, so that one that begins is seldom the first to end.
const TICK: Duration = Duration::from_secs(1);

/// Returns the runtime of the timers, of all Idems of the process and without an end. Its thread is woken
/// when a timer is the first to end, not by each that begins: most are dropped before.
fn timers() -> Option<&'static Handle> {
    static STARTED: OnceLock<Handle> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    if STARTED.get().is_none() {
        let _one = STARTING.lock();
        if STARTED.get().is_none() {
            let _ = STARTED.set(start_timers()?);
        }
    }
    STARTED.get()
}

fn start_timers() -> Option<Handle> {
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
    thread.spawn(run).ok()?;
    handle.recv().ok()
}

/// Returns `start` plus `duration`, or the latest timestamp if that is out of range.
pub(crate) fn after(start: Timestamp, duration: Duration) -> Timestamp {
    start.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns the time from `now` to `then`, or zero when `then` has passed.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

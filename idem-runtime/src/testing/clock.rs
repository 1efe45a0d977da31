//! A clock that moves when it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::clock::{BoxFuture, Clock, after};

/// A clock that stands still until a test moves it. A clone is the same clock.
///
/// ```
/// # use std::time::Duration;
/// use idem_runtime::{clock::Clock, testing::ManualClock};
/// let clock = ManualClock::default();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().duration_since(before).as_secs(), 60);
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<watch::Sender<Timestamp>>,
    /// How far it is ahead of `now`.
    ahead: SignedDuration,
    /// How many wake at each time.
    sleepers: Arc<watch::Sender<BTreeMap<Timestamp, usize>>>,
}

impl Default for ManualClock {
    fn default() -> Self {
        let start = Timestamp::from_second(1_800_000_000).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            now: Arc::new(watch::Sender::new(start)),
            ahead: SignedDuration::ZERO,
            sleepers: Arc::default(),
        }
    }
}

impl ManualClock {
    /// Moves time forward, and wakes the sleepers whose time has come.
    pub fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = after(*now, duration));
    }

    /// Sets the time, also to an earlier one, as an operator or a time server might.
    pub fn set(&self, time: Timestamp) {
        self.now.send_replace(time - self.ahead);
    }

    /// Returns the clock of another machine: it moves with this one, and is ahead of it, or behind.
    #[must_use]
    pub fn ahead(&self, by: SignedDuration) -> Self {
        let mut clock = self.clone();
        clock.ahead += by;
        clock
    }

    /// Waits until at least so many are asleep on this clock, so that moving it wakes them. A sleeper
    /// whose time has come is awake, even before it does anything.
    pub async fn asleep(&self, sleepers: usize) {
        let asleep = |wakes: &BTreeMap<Timestamp, usize>| {
            let now = *self.now.borrow();
            let later = wakes.iter().rev().take_while(|(wake, _)| **wake > now);
            later.map(|(_, sleepers)| sleepers).sum::<usize>() >= sleepers
        };
        // The sender is ours, so the channel is open.
        let _ = self.sleepers.subscribe().wait_for(asleep).await;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow() + self.ahead
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (clock, wake) = (self.clone(), after(*self.now.borrow(), duration));
        Box::pin(async move {
            let mut now = clock.now.subscribe();
            let _asleep = Asleep::count(&clock.sleepers, wake);
            let _ = now.wait_for(|now| *now >= wake).await;
        })
    }
}

struct Asleep {
    sleepers: Arc<watch::Sender<BTreeMap<Timestamp, usize>>>,
    wake: Timestamp,
}

impl Asleep {
    fn count(sleepers: &Arc<watch::Sender<BTreeMap<Timestamp, usize>>>, wake: Timestamp) -> Self {
        sleepers.send_modify(|wakes| *wakes.entry(wake).or_default() += 1);
        let sleepers = Arc::clone(sleepers);
        Self { sleepers, wake }
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        self.sleepers.send_modify(|wakes| {
            if let Some(sleepers) = wakes.get_mut(&self.wake) {
                *sleepers -= 1;
            }
            wakes.retain(|_, sleepers| *sleepers > 0);
        });
    }
}

//! Idem's own figures since the start and minute by minute, as plots show them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use idem_runtime::clock::Timestamp;
use parking_lot::Mutex;

use super::counts::{Counts, Gauges};
use super::latency::{Latency, Sketch};

/// The number of minutes kept: a day.
pub const MINUTES: usize = 1440;

/// The figures of one minute.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) minute: i64,
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) attempts: BTreeMap<String, u64>,
    pub(crate) body: Latency,
    pub(crate) commit: Latency,
}

/// Returns the minutes since 1970.
pub(crate) fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

#[derive(Default)]
pub(super) struct Figures {
    pub(super) calls: Counts,
    pub(super) attempts: Counts,
    pub(super) body: Arc<Sketch>,
    pub(super) commit: Arc<Sketch>,
    pub(super) delayed: Gauges,
    minutes: Mutex<Minutes>,
}

#[derive(Default)]
struct Minutes {
    past: VecDeque<Past>,
    /// The minute that is not over; `None` before the first look at the clock.
    minute: Option<i64>,
    /// The counts when it began.
    calls: BTreeMap<String, u64>,
    attempts: BTreeMap<String, u64>,
}

impl Figures {
    /// Returns the minutes that are over, oldest first, then the current one.
    pub(super) fn minutes(&self) -> Vec<Past> {
        let minutes = self.minutes.lock();
        minutes
            .past
            .iter()
            .cloned()
            .chain([self.now(&minutes)])
            .collect()
    }

    /// Ends the minutes before `minute`.
    pub(super) fn roll(&self, minute: i64) {
        let mut minutes = self.minutes.lock();
        let begun = *minutes.minute.get_or_insert(minute);
        if minute <= begun {
            return;
        }
        let over = self.now(&minutes);
        self.body.begin_minute();
        self.commit.begin_minute();
        minutes.past.push_back(over);
        while minutes.past.len() >= MINUTES {
            minutes.past.pop_front();
        }
        minutes.minute = Some(minute);
        (minutes.calls, minutes.attempts) = (self.calls.by_outcome(), self.attempts.by_outcome());
    }

    fn now(&self, minutes: &Minutes) -> Past {
        Past {
            minute: minutes.minute.unwrap_or_default(),
            calls: since(self.calls.by_outcome(), &minutes.calls),
            attempts: since(self.attempts.by_outcome(), &minutes.attempts),
            body: self.body.minute(),
            commit: self.commit.minute(),
        }
    }
}

fn since(mut now: BTreeMap<String, u64>, then: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter_mut()
        .for_each(|(outcome, count)| *count -= then.get(outcome).copied().unwrap_or_default());
    now.retain(|_, count| *count > 0);
    now
}

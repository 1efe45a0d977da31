//! Idem's own figures: counts and latencies, since the start and minute by minute, as plots show
//! them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use idem_runtime::clock::Timestamp;
use metrics::Key;
use metrics_util::storage::Summary;
use parking_lot::Mutex;

use super::recorder::Teed;
use crate::service::{Count, Latency, MINUTES};

/// How far a quantile may be off, of itself.
const ERROR: f64 = 0.01;
/// With that error so many buckets of 8 bytes span 17 powers of ten; with fewer, or a smaller
/// error, short times that lie beside very long ones would be thrown together and told as longer
/// than they were.
const BUCKETS: u32 = 2048;
/// The shortest time that is more than nothing, in seconds.
const SHORTEST: f64 = 1e-9;

/// One minute's figures.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) minute: i64,
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) attempts: BTreeMap<String, u64>,
    pub(crate) body: Latency,
    pub(crate) commit: Latency,
}

/// Minutes since 1970.
pub(crate) fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

#[derive(Default)]
pub(super) struct Figures {
    pub(super) calls: Counts,
    pub(super) attempts: Counts,
    pub(super) body: Arc<Sketch>,
    pub(super) commit: Arc<Sketch>,
    minutes: Mutex<Minutes>,
}

#[derive(Default)]
struct Minutes {
    past: VecDeque<Past>,
    /// The minute that is not over; nothing before the first look at the clock.
    minute: Option<i64>,
    /// The counts when it began.
    calls: BTreeMap<String, u64>,
    attempts: BTreeMap<String, u64>,
}

impl Figures {
    /// The minutes that are over, the oldest first, and the one that is not.
    pub(super) fn minutes(&self) -> Vec<Past> {
        let minutes = self.minutes.lock();
        minutes
            .past
            .iter()
            .cloned()
            .chain([self.now(&minutes)])
            .collect()
    }

    /// Ends the minutes before this one.
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

/// One counter by handler and outcome.
#[derive(Default)]
pub(super) struct Counts(pub(super) Mutex<HashMap<Key, Arc<Teed>>>);

impl Counts {
    pub(super) fn counts(&self) -> Vec<Count> {
        let label = |key: &Key, name| {
            key.labels()
                .find(|label| label.key() == name)
                .map(|label| label.value().to_owned())
        };
        let counts = self.0.lock();
        let mut counts: Vec<_> = counts
            .iter()
            .map(|(key, counter)| Count {
                handler: label(key, "handler").unwrap_or_default(),
                outcome: label(key, "outcome").unwrap_or_default(),
                count: counter.own.load(Ordering::Relaxed),
            })
            .collect();
        counts.sort_by(|a, b| (&a.handler, &a.outcome).cmp(&(&b.handler, &b.outcome)));
        counts
    }

    fn by_outcome(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        self.counts()
            .into_iter()
            .for_each(|count| *all.entry(count.outcome).or_default() += count.count);
        all
    }
}

/// One histogram, of all handlers.
#[derive(Default)]
pub(super) struct Sketch(Mutex<Sketches>);

impl Sketch {
    pub(super) fn add(&self, value: f64) {
        let mut sketches = self.0.lock();
        sketches.all.add(value);
        sketches.minute.add(value);
    }

    pub(super) fn all(&self) -> Latency {
        latency(&self.0.lock().all)
    }

    fn minute(&self) -> Latency {
        latency(&self.0.lock().minute)
    }

    fn begin_minute(&self) {
        self.0.lock().minute = sketch();
    }
}

struct Sketches {
    all: Summary,
    minute: Summary,
}

impl Default for Sketches {
    fn default() -> Self {
        Self {
            all: sketch(),
            minute: sketch(),
        }
    }
}

fn sketch() -> Summary {
    Summary::new(ERROR, BUCKETS, SHORTEST)
}

fn latency(summary: &Summary) -> Latency {
    let quantile = |q| summary.quantile(q).unwrap_or_default();
    if summary.is_empty() {
        return Latency::default();
    }
    Latency {
        count: summary.count() as u64,
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        max: summary.max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_at_most_one_percent_however_far_times_lie_apart() {
        // From 100 ns to 3 hours; and a service whose calls take microseconds but for one in a
        // hundred.
        let spread: Vec<_> = (0..10_000)
            .map(|n| 1e-7 * 10_f64.powf(f64::from(n) / 909.0))
            .collect();
        let mostly_fast: Vec<_> = (0..10_000)
            .map(|n| if n < 9850 { 2e-6 } else { 300.0 })
            .collect();
        for times in [spread, mostly_fast] {
            let mut summary = sketch();
            times.iter().for_each(|time| summary.add(*time));
            let told = latency(&summary);
            for (told, at) in [(told.p50, 4999), (told.p90, 8999), (told.p99, 9899)] {
                // The paper's bound is for the time at the quantile's rank.
                let exact = times[at];
                assert!((told - exact).abs() <= ERROR * exact, "{told} for {exact}");
            }
            assert_eq!((told.count, told.max), (10_000, times[9999]));
        }
    }
}

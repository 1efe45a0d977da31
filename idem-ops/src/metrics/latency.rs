//! How long things take: a sketch of a histogram, and its quantiles.

use metrics::HistogramFn;
use metrics_util::storage::Summary;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The relative error of a quantile.
const ERROR: f64 = 0.01;
/// With that error, this many buckets of 8 bytes span 17 powers of ten. With fewer buckets or a
/// smaller error, short times beside very long ones would collapse into one bucket and be reported
/// as longer than they were.
const BUCKETS: u32 = 2048;
/// The shortest time that differs from zero, in seconds.
const SHORTEST: f64 = 1e-9;

/// A distribution of durations, in seconds.
///
/// Quantiles come from a sketch ([DDSketch](https://arxiv.org/abs/1908.10693)): each is off by at
/// most 1 % of itself, between a nanosecond and years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latency {
    /// The number of measurements.
    pub count: u64,
    /// Half of them took at most this.
    pub p50: f64,
    /// 90 % of them took at most this.
    pub p90: f64,
    /// 99 % of them took at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// The histogram of all handlers.
#[derive(Default)]
pub(super) struct Sketch(Mutex<Sketches>);

impl Sketch {
    pub(super) fn all(&self) -> Latency {
        latency(&self.0.lock().all)
    }

    pub(super) fn minute(&self) -> Latency {
        latency(&self.0.lock().minute)
    }

    pub(super) fn begin_minute(&self) {
        self.0.lock().minute = sketch();
    }
}

impl HistogramFn for Sketch {
    fn record(&self, value: f64) {
        let mut sketches = self.0.lock();
        sketches.all.add(value);
        sketches.minute.add(value);
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
            let shown = latency(&summary);
            for (quantile, at) in [(shown.p50, 4999), (shown.p90, 8999), (shown.p99, 9899)] {
                // The paper's bound is for the time at the quantile's rank.
                let exact = times[at];
                assert!(
                    (quantile - exact).abs() <= ERROR * exact,
                    "{quantile} for {exact}"
                );
            }
            assert_eq!((shown.count, shown.max), (10_000, times[9999]));
        }
    }
}

//! The process's metrics: as Prometheus text, and idem's own as figures for plots.
//!
//! A process has one recorder. [`Metrics::install`] puts this one there unless another is; then there are no figures
//! here, and the other one has them all.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use idem_runtime::Timestamp;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit, counter,
    describe_counter, describe_gauge, gauge,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::storage::Summary;
use parking_lot::{Mutex, RwLock};

use crate::service::{Count, Latency, MINUTES};

/// The upper ends of the buckets that Prometheus gets: they can be added up over processes, which quantiles cannot, and no
/// time is told as longer than it was because a much longer one came.
const SECONDS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
    600.0,
];
/// The same of the calls that share a commit.
const GROUP: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// How far a quantile may be off, of itself.
const ERROR: f64 = 0.01;
/// With that error so many buckets of 8 bytes span 17 powers of ten; with fewer, or a smaller error, short times that lie
/// beside very long ones would be thrown together and told as longer than they were.
const BUCKETS: u32 = 2048;
/// The shortest time that is more than nothing, in seconds.
const SHORTEST: f64 = 1e-9;

const CALLS: &str = "idem_calls_total";
const ATTEMPTS: &str = "idem_attempts_total";
const BODY: &str = "idem_body_seconds";
const COMMIT: &str = "idem_commit_seconds";
const ALERTS: &str = "idem_alerts_total";
const WAITING: &str = "idem_alerts_waiting";

/// Tells the process's metrics recorder what the monitor's names mean; harmless when repeated. Each
/// [`Monitor`](crate::monitor::Monitor) does so when it starts: call it where the recorder comes later.
pub fn describe_metrics() {
    describe_counter!(ALERTS, Unit::Count, "Tries to send a notice, by channel and outcome");
    describe_gauge!(WAITING, Unit::Count, "Notices that wait to be sent, by channel; at most 1,000 are counted");
}

/// A notice was sent to a channel, or could not be.
pub(crate) fn alerted(channel: &str, sent: bool) {
    let outcome = if sent { "sent" } else { "failed" };
    counter!(ALERTS, "channel" => channel.to_owned(), "outcome" => outcome).increment(1);
}

/// So many notices wait for a channel.
pub(crate) fn waiting(channel: &str, count: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
    gauge!(WAITING, "channel" => channel.to_owned()).set(count as f64);
}

/// The process's metrics. A clone is another handle of the same.
#[derive(Clone)]
pub struct Metrics {
    figures: Arc<Figures>,
    prometheus: PrometheusHandle,
}

/// With buckets for idem's own times; what else the process measures stays as it is.
#[expect(clippy::expect_used, reason = "only an empty list of buckets is refused")]
fn with_buckets(builder: PrometheusBuilder) -> PrometheusBuilder {
    let all = [(BODY, &SECONDS[..]), (COMMIT, &SECONDS), ("idem_commit_group_size", &GROUP)];
    all.into_iter().fold(builder, |builder, (name, ends)| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), ends).expect("buckets")
    })
}

/// The process has another recorder, so there are no figures here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process has another metrics recorder, which has idem's figures: look there, or install none and idem_ops \
     installs its own"
)]
pub struct OtherRecorder;

static INSTALLED: OnceLock<Result<Metrics, OtherRecorder>> = OnceLock::new();

impl Metrics {
    /// Puts the recorder there, or finds it there.
    ///
    /// # Errors
    /// The process has another one.
    pub fn install() -> Result<Self, OtherRecorder> {
        INSTALLED
            .get_or_init(|| {
                let recorder = with_buckets(PrometheusBuilder::new()).build_recorder();
                let metrics = Self { figures: Arc::default(), prometheus: recorder.handle() };
                let tee = Tee { figures: Arc::clone(&metrics.figures), prometheus: recorder, kept: RwLock::default() };
                metrics::set_global_recorder(tee).map_err(|_| OtherRecorder)?;
                // The Idem is open by now, and a monitor may run: they have told their names to nobody.
                idem_runtime::describe_metrics();
                describe_metrics();
                Ok(metrics)
            })
            .clone()
    }

    /// Everything as Prometheus text.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Ends the minutes that are over, and the work that histograms left; to be called every few seconds.
    pub(crate) fn roll(&self, now: Timestamp) {
        self.prometheus.run_upkeep();
        self.figures.roll(minute(now));
    }

    pub(crate) fn calls(&self) -> Vec<Count> {
        self.figures.calls.counts()
    }

    pub(crate) fn attempts(&self) -> Vec<Count> {
        self.figures.attempts.counts()
    }

    pub(crate) fn body(&self) -> Latency {
        latency(&self.figures.body.sketches.lock().all)
    }

    pub(crate) fn commit(&self) -> Latency {
        latency(&self.figures.commit.sketches.lock().all)
    }

    /// The minutes that are over, the oldest first, and the one that is not.
    pub(crate) fn minutes(&self) -> Vec<Past> {
        let minutes = self.figures.minutes.lock();
        let mut all: Vec<_> = minutes.past.iter().cloned().collect();
        all.push(self.figures.now(&minutes));
        all
    }
}

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
struct Figures {
    calls: Counts,
    attempts: Counts,
    body: Arc<Sketch>,
    commit: Arc<Sketch>,
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
    fn roll(&self, minute: i64) {
        let mut minutes = self.minutes.lock();
        let begun = *minutes.minute.get_or_insert(minute);
        if minute <= begun {
            return;
        }
        let over = self.now(&minutes);
        self.body.sketches.lock().minute = sketch();
        self.commit.sketches.lock().minute = sketch();
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
            body: latency(&self.body.sketches.lock().minute),
            commit: latency(&self.commit.sketches.lock().minute),
        }
    }
}

fn since(mut now: BTreeMap<String, u64>, then: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter_mut().for_each(|(outcome, count)| *count -= then.get(outcome).copied().unwrap_or_default());
    now.retain(|_, count| *count > 0);
    now
}

/// One counter by handler and outcome.
#[derive(Default)]
struct Counts(Mutex<HashMap<Key, Arc<Teed>>>);

impl Counts {
    fn counts(&self) -> Vec<Count> {
        let label =
            |key: &Key, name| key.labels().find(|label| label.key() == name).map(|label| label.value().to_owned());
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
        self.counts().into_iter().for_each(|count| *all.entry(count.outcome).or_default() += count.count);
        all
    }
}

/// A counter that counts here and for Prometheus.
struct Teed {
    own: AtomicU64,
    prometheus: Counter,
}

impl CounterFn for Teed {
    fn increment(&self, value: u64) {
        self.own.fetch_add(value, Ordering::Relaxed);
        self.prometheus.increment(value);
    }

    fn absolute(&self, value: u64) {
        self.own.fetch_max(value, Ordering::Relaxed);
        self.prometheus.absolute(value);
    }
}

/// One histogram, of all handlers.
#[derive(Default)]
struct Sketch {
    sketches: Mutex<Sketches>,
}

struct Sketches {
    all: Summary,
    minute: Summary,
}

impl Default for Sketches {
    fn default() -> Self {
        Self { all: sketch(), minute: sketch() }
    }
}

fn sketch() -> Summary {
    Summary::new(ERROR, BUCKETS, SHORTEST)
}

struct TeedHistogram {
    sketch: Arc<Sketch>,
    prometheus: Histogram,
}

impl HistogramFn for TeedHistogram {
    fn record(&self, value: f64) {
        let mut sketches = self.sketch.sketches.lock();
        sketches.all.add(value);
        sketches.minute.add(value);
        drop(sketches);
        self.prometheus.record(value);
    }
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

/// Everything goes to Prometheus; what is idem's is kept here too.
struct Tee {
    figures: Arc<Figures>,
    prometheus: PrometheusRecorder,
    /// Histograms that were asked for: idem asks with every attempt.
    kept: RwLock<HashMap<Key, Histogram>>,
}

impl Recorder for Tee {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let counts = match key.name() {
            CALLS => &self.figures.calls,
            ATTEMPTS => &self.figures.attempts,
            _ => return self.prometheus.register_counter(key, metadata),
        };
        let mut counts = counts.0.lock();
        if let Some(counter) = counts.get(key) {
            return Counter::from_arc(Arc::clone(counter));
        }
        let counter =
            Arc::new(Teed { own: AtomicU64::new(0), prometheus: self.prometheus.register_counter(key, metadata) });
        counts.insert(key.clone(), Arc::clone(&counter));
        Counter::from_arc(counter)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.prometheus.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let sketch = match key.name() {
            BODY => &self.figures.body,
            COMMIT => &self.figures.commit,
            _ => return self.prometheus.register_histogram(key, metadata),
        };
        if let Some(histogram) = self.kept.read().get(key) {
            return histogram.clone();
        }
        let prometheus = self.prometheus.register_histogram(key, metadata);
        let histogram = Histogram::from_arc(Arc::new(TeedHistogram { sketch: Arc::clone(sketch), prometheus }));
        self.kept.write().insert(key.clone(), histogram.clone());
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_at_most_one_percent_however_far_times_lie_apart() {
        // From 100 ns to 3 hours; and a service whose calls take microseconds but for one in a hundred.
        let spread: Vec<_> = (0..10_000).map(|n| 1e-7 * 10_f64.powf(f64::from(n) / 909.0)).collect();
        let mostly_fast: Vec<_> = (0..10_000).map(|n| if n < 9850 { 2e-6 } else { 300.0 }).collect();
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

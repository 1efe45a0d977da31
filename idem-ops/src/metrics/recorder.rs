//! The process's recorder: everything goes to Prometheus, and idem's own to the figures too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_exporter_prometheus::PrometheusRecorder;
use parking_lot::RwLock;

use super::figures::{Figures, Sketch};
use super::{ATTEMPTS, BODY, CALLS, COMMIT};

/// Everything goes to Prometheus; what is idem's is kept here too.
pub(super) struct Tee {
    figures: Arc<Figures>,
    prometheus: PrometheusRecorder,
    /// Histograms that were asked for: idem asks with every attempt.
    kept: RwLock<HashMap<Key, Histogram>>,
}

impl Tee {
    pub(super) fn of(figures: Arc<Figures>, prometheus: PrometheusRecorder) -> Self {
        Self {
            figures,
            prometheus,
            kept: RwLock::default(),
        }
    }
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
        let counter = Arc::new(Teed {
            own: AtomicU64::new(0),
            prometheus: self.prometheus.register_counter(key, metadata),
        });
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
        let histogram = Histogram::from_arc(Arc::new(TeedHistogram {
            sketch: Arc::clone(sketch),
            prometheus,
        }));
        self.kept.write().insert(key.clone(), histogram.clone());
        histogram
    }
}

/// A counter that counts here and for Prometheus.
pub(super) struct Teed {
    pub(super) own: AtomicU64,
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

struct TeedHistogram {
    sketch: Arc<Sketch>,
    prometheus: Histogram,
}

impl HistogramFn for TeedHistogram {
    fn record(&self, value: f64) {
        self.sketch.add(value);
        self.prometheus.record(value);
    }
}

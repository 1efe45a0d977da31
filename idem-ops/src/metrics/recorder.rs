//! The recorder that keeps idem's own figures, beside the one for Prometheus.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::figures::Figures;
use super::{ATTEMPTS, BODY, CALLS, COMMIT, DELAYED};

/// Records the calls, attempts and latencies of idem; ignores the process's other metrics.
pub(super) struct FiguresRecorder(pub(super) Arc<Figures>);

impl Recorder for FiguresRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            CALLS => Counter::from_arc(self.0.calls.counter(key)),
            ATTEMPTS => Counter::from_arc(self.0.attempts.counter(key)),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match key.name() {
            DELAYED => Gauge::from_arc(self.0.delayed.gauge(key)),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match key.name() {
            BODY => Histogram::from_arc(Arc::clone(&self.0.body)),
            COMMIT => Histogram::from_arc(Arc::clone(&self.0.commit)),
            _ => Histogram::noop(),
        }
    }
}

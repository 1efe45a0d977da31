//! The process's metrics: as Prometheus text, and idem's own as figures for plots.
//!
//! A process has one recorder. [`Metrics::install`] puts this one there unless another is; then
//! there are no figures here, and the other one has them all.

mod figures;
mod recorder;

use std::sync::{Arc, OnceLock};

use idem_runtime::clock::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::service::{Count, Latency};
use figures::Figures;
pub(crate) use figures::{Past, minute};
use recorder::Tee;

/// The upper ends of the buckets that Prometheus gets: they can be added up over processes, which
/// quantiles cannot, and no time is told as longer than it was because a much longer one came.
const SECONDS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 60.0, 600.0,
];
/// The same of the calls that share a commit.
const GROUP: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const CALLS: &str = "idem_calls_total";
const ATTEMPTS: &str = "idem_attempts_total";
const BODY: &str = "idem_body_seconds";
const COMMIT: &str = "idem_commit_seconds";
const ALERTS: &str = "idem_alerts_total";
const WAITING: &str = "idem_alerts_waiting";

/// Tells the process's metrics recorder what the monitor's names mean; harmless when repeated. Each
/// [`Monitor`](crate::monitor::Monitor) does so when it starts: call it where the recorder comes later.
pub fn describe_metrics() {
    describe_counter!(
        ALERTS,
        Unit::Count,
        "Tries to send a notice, by channel and outcome"
    );
    describe_gauge!(
        WAITING,
        Unit::Count,
        "Notices that wait to be sent, by channel; at most 1,000 are counted"
    );
}

/// A notice was sent to a channel, or could not be.
pub(crate) fn alerted(channel: &str, sent: bool) {
    let outcome = if sent { "sent" } else { "failed" };
    counter!(ALERTS, "channel" => channel.to_owned(), "outcome" => outcome).increment(1);
}

/// So many notices wait for a channel.
pub(crate) fn waiting(channel: &str, count: u64) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float, and exact up to 2^53"
    )]
    gauge!(WAITING, "channel" => channel.to_owned()).set(count as f64);
}

/// The process's metrics. A clone is another handle of the same.
#[derive(Clone)]
pub struct Metrics {
    figures: Arc<Figures>,
    prometheus: PrometheusHandle,
}

/// With buckets for idem's own times; what else the process measures stays as it is.
#[expect(
    clippy::expect_used,
    reason = "only an empty list of buckets is refused"
)]
fn with_buckets(builder: PrometheusBuilder) -> PrometheusBuilder {
    let all = [
        (BODY, &SECONDS[..]),
        (COMMIT, &SECONDS),
        ("idem_commit_group_size", &GROUP),
    ];
    all.into_iter().fold(builder, |builder, (name, ends)| {
        builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), ends)
            .expect("buckets")
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
                let metrics = Self {
                    figures: Arc::default(),
                    prometheus: recorder.handle(),
                };
                let tee = Tee::of(Arc::clone(&metrics.figures), recorder);
                metrics::set_global_recorder(tee).map_err(|_| OtherRecorder)?;
                // The Idem is open by now, and a monitor may run: they have told their names to
                // nobody.
                idem_runtime::metrics::describe_metrics();
                describe_metrics();
                Ok(metrics)
            })
            .clone()
    }

    /// Everything as Prometheus text.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Ends the minutes that are over, and the work that histograms left; to be called every few
    /// seconds.
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
        self.figures.body.all()
    }

    pub(crate) fn commit(&self) -> Latency {
        self.figures.commit.all()
    }

    /// The minutes that are over, the oldest first, and the one that is not.
    pub(crate) fn minutes(&self) -> Vec<Past> {
        self.figures.minutes()
    }
}

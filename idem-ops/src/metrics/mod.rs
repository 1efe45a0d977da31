//! The process's metrics: as Prometheus text, and idem's own as figures for plots.
//!
//! A process has one recorder. [`Metrics::install`] installs this one unless another is installed;
//! then the other one has all metrics, and there are no figures here.

mod counts;
mod figures;
mod latency;
mod recorder;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use idem_runtime::clock::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::FanoutBuilder;

pub use counts::Count;
use figures::Figures;
pub use figures::MINUTES;
pub(crate) use figures::{Past, minute};
pub use latency::Latency;
use recorder::FiguresRecorder;

/// The upper bounds of the buckets for Prometheus, in seconds. Buckets can be summed over processes;
/// quantiles cannot.
const SECONDS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 60.0, 600.0,
];
/// The upper bounds of the buckets for the calls that share a commit.
const GROUP: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const CALLS: &str = "idem_calls_total";
const ATTEMPTS: &str = "idem_attempts_total";
const BODY: &str = "idem_body_seconds";
const COMMIT: &str = "idem_commit_seconds";
const ALERTS: &str = "idem_alerts_total";
const WAITING: &str = "idem_alerts_waiting";
const OUTBOX: &str = "idem_outbox_waiting";
const OLDEST_IN_OUTBOX: &str = "idem_oldest_outbox_message_seconds";
const LEDGER: &str = "idem_ledger_bytes";
/// Of idem-brokers.
const DELAYED: &str = "idem_deliveries_delayed";

/// Describes the metrics of this crate to the process's recorder; harmless when repeated.
///
/// Each [`Monitor`](crate::monitor::Monitor) calls it when it starts: call it yourself if the
/// recorder is installed later.
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
    describe_gauge!(LEDGER, Unit::Bytes, "Size of the ledger on disk");
    describe_gauge!(
        OUTBOX,
        Unit::Count,
        "Messages of the outbox that are not sent yet; at most 1,000 are counted"
    );
    describe_gauge!(
        OLDEST_IN_OUTBOX,
        Unit::Seconds,
        "Time since the oldest message that is not sent was recorded; 0 if there is none"
    );
}

/// Counts a try to send a notice to a channel.
pub(crate) fn alerted(channel: &str, sent: bool) {
    let outcome = if sent { "sent" } else { "failed" };
    counter!(ALERTS, "channel" => channel.to_owned(), "outcome" => outcome).increment(1);
}

/// Sets the number of notices that wait for a channel.
pub(crate) fn waiting(channel: &str, count: u64) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float, and exact up to 2^53"
    )]
    gauge!(WAITING, "channel" => channel.to_owned()).set(count as f64);
}

/// Sets the size of the ledger.
pub(crate) fn ledger_bytes(bytes: u64) {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    gauge!(LEDGER).set(bytes as f64);
}

/// Sets the number of messages of the outbox that wait, and the age of the oldest.
pub(crate) fn outbox(count: u64, oldest: Option<Timestamp>, now: Timestamp) {
    #[expect(clippy::cast_precision_loss, reason = "at most 1,000 are counted")]
    gauge!(OUTBOX).set(count as f64);
    let age = oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64());
    gauge!(OLDEST_IN_OUTBOX).set(age.max(0.0));
}

/// A handle of the process's metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    figures: Arc<Figures>,
    prometheus: PrometheusHandle,
}

/// Sets the buckets of idem's own histograms.
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

/// The process has another metrics recorder, so there are no figures here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process has another metrics recorder, which has idem's figures: look there, or install none and idem_ops \
     installs its own"
)]
pub struct OtherRecorder;

static INSTALLED: OnceLock<Result<Metrics, OtherRecorder>> = OnceLock::new();

impl Metrics {
    /// Installs the recorder of the process, or returns the one that was installed before.
    ///
    /// # Errors
    /// The process has another recorder.
    pub fn install() -> Result<Self, OtherRecorder> {
        INSTALLED
            .get_or_init(|| {
                let recorder = with_buckets(PrometheusBuilder::new()).build_recorder();
                let metrics = Self {
                    figures: Arc::default(),
                    prometheus: recorder.handle(),
                };
                let both = FanoutBuilder::default()
                    .add_recorder(FiguresRecorder(Arc::clone(&metrics.figures)))
                    .add_recorder(recorder)
                    .build();
                metrics::set_global_recorder(both).map_err(|_| OtherRecorder)?;
                // An Idem or a monitor that started before described its metrics to no recorder.
                idem_runtime::metrics::describe_metrics();
                describe_metrics();
                Ok(metrics)
            })
            .clone()
    }

    /// Returns all metrics as Prometheus text.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Ends the minutes that are over and runs the upkeep of histograms. Call it every few seconds.
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

    pub(crate) fn delayed(&self) -> BTreeMap<String, u64> {
        self.figures.delayed.by_source()
    }

    pub(crate) fn body(&self) -> Latency {
        self.figures.body.all()
    }

    pub(crate) fn commit(&self) -> Latency {
        self.figures.commit.all()
    }

    /// Returns the minutes that are over, oldest first, then the current one.
    pub(crate) fn minutes(&self) -> Vec<Past> {
        self.figures.minutes()
    }
}

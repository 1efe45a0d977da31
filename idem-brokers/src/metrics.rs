//! Metrics and log lines of consumers and relays. They never contain a payload.

use idem_runtime::Idem;
use metrics::{Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::error::BrokerError;

/// Describes the metrics to the process's recorder. Repeating it has no effect.
pub fn describe_metrics() {
    describe_counter!(
        "idem_deliveries_total",
        Unit::Count,
        "Messages that a broker delivered, by outcome"
    );
    describe_counter!(
        "idem_relayed_total",
        Unit::Count,
        "Messages of the outbox, by destination and outcome"
    );
    describe_gauge!(
        "idem_deliveries_delayed",
        Unit::Count,
        "Messages that wait in delay queues of their broker, by source"
    );
    describe_gauge!(
        "idem_deliveries_held",
        Unit::Count,
        "Messages that consumers hold because their handler is paused, by source"
    );
}

/// The outcome of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// Its result, or its dead letter, is durable.
    Settled,
    /// It will be redelivered.
    Again,
    /// It could not be decoded and is a dead letter.
    Undecodable,
    /// Its handler refused it, and it is a dead letter.
    Refused,
    /// The consumer stopped before it was done.
    GivenBack,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Again => "again",
            Self::Undecodable => "undecodable",
            Self::Refused => "refused",
            Self::GivenBack => "given_back",
        }
    }
}

/// Counts a finished delivery.
pub(crate) fn count_delivery(source: &str, outcome: Outcome) {
    counter!("idem_deliveries_total", "source" => source.to_owned(), "outcome" => outcome.name())
        .increment(1);
}

/// Sets the number of messages that wait in delay queues.
#[cfg(feature = "rabbitmq")]
pub(crate) fn delayed(source: &str, count: u64) {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    gauge!("idem_deliveries_delayed", "source" => source.to_owned()).set(count as f64);
}

/// Returns the number of messages that a consumer holds because their handler is paused.
pub(crate) fn held(source: &str) -> Gauge {
    gauge!("idem_deliveries_held", "source" => source.to_owned())
}

/// Counts an attempt to publish a message of the outbox.
pub(crate) fn count_relayed<T, E>(destination: &str, published: &Result<T, E>) {
    let outcome = if published.is_ok() { "sent" } else { "failed" };
    counter!("idem_relayed_total", "destination" => destination.to_owned(), "outcome" => outcome)
        .increment(1);
}

/// Logs that the broker was not told about a message, which it will therefore redeliver. In an outage
/// of the broker all messages that a consumer holds are such ones.
pub(crate) fn log_untold(idem: &Idem, source: &str, error: &BrokerError) {
    if idem.logs(
        "messages that the broker will redeliver",
        source,
        &error.to_string(),
    ) {
        tracing::warn!(source, %error, "the broker was not told about a message and will redeliver it");
    }
}

//! What operators see of consumers and relays. Never a payload.

use std::fmt;

use metrics::{Unit, counter, describe_counter};

/// Tells the process's metrics recorder what the names mean; harmless when repeated.
pub fn describe_metrics() {
    describe_counter!(
        "idem_deliveries_total",
        Unit::Count,
        "Messages that a broker delivered, by what became of them"
    );
    describe_counter!(
        "idem_relayed_total",
        Unit::Count,
        "Messages of the outbox, by destination and outcome"
    );
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// Its result, or its dead letter, is durable.
    Settled,
    /// It comes again.
    Again,
    /// It cannot be decoded: a dead letter.
    Undecodable,
    /// No handler may take it: a dead letter.
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

/// A delivery has ended so.
pub(crate) fn ended(source: &str, outcome: Outcome) {
    counter!("idem_deliveries_total", "source" => source.to_owned(), "outcome" => outcome.name())
        .increment(1);
}

/// A message of the outbox has gone, or has not.
pub(crate) fn relayed(destination: &str, sent: bool) {
    let outcome = if sent { "sent" } else { "failed" };
    counter!("idem_relayed_total", "destination" => destination.to_owned(), "outcome" => outcome)
        .increment(1);
}

/// The broker did not hear what became of a message; it brings it again, which does no harm.
pub(crate) fn unheard(source: &str, error: &dyn fmt::Display) {
    tracing::warn!(source, %error, "the broker could not be told; it will bring the message again");
}

//! Errors of brokers.

use std::error::Error;

/// A failed operation of a broker.
#[derive(Debug, thiserror::Error)]
#[error("{broker}: {doing}: {problem}")]
pub struct BrokerError {
    broker: &'static str,
    doing: String,
    /// Part of the message, and therefore not the `source()`.
    problem: Box<dyn Error + Send + Sync>,
}

impl BrokerError {
    /// Creates an error of the operation `doing` ("ack a message") that failed with `problem`.
    pub fn new(
        broker: &'static str,
        doing: impl Into<String>,
        problem: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            broker,
            doing: doing.into(),
            problem: problem.into(),
        }
    }

    /// Returns the broker's name.
    pub fn broker(&self) -> &'static str {
        self.broker
    }

    /// Returns the error of the broker's client.
    pub fn problem(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.problem
    }
}

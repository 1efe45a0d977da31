//! What goes wrong between us and a broker.

use std::error::Error;

/// A broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{broker}: {doing}: {problem}")]
pub struct BrokerError {
    broker: &'static str,
    doing: String,
    /// The message holds its text already, so it is no `source()`.
    problem: Box<dyn Error + Send + Sync>,
}

impl BrokerError {
    /// `doing` says what was asked of the broker, `problem` what came of it.
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

    /// The broker's name.
    pub fn broker(&self) -> &'static str {
        self.broker
    }

    /// What its client said.
    pub fn problem(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.problem
    }
}

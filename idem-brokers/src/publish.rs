//! Messages on their way to a broker.

use idem_runtime::BoxFuture;

use crate::error::BrokerError;

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The queue, stream or subject.
    pub to: String,
    /// What the broker or a consumer knows a second copy by; the idempotency key is a good one.
    pub id: Option<String>,
    /// Messages with the same lane stay in the order they were published, where the broker has lanes: Kafka's key. The
    /// others ignore it.
    pub lane: Option<String>,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Further names and values.
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// A message for a queue, stream or subject.
    pub fn new(to: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { to: to.into(), id: None, lane: None, payload: payload.into(), headers: Vec::new() }
    }

    /// The same with an id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same in a lane.
    #[must_use]
    pub fn lane(mut self, lane: impl Into<String>) -> Self {
        self.lane = Some(lane.into());
        self
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Where messages are published. It connects when it has to, and again after a connection broke.
pub trait Publisher: Send + Sync + 'static {
    /// Publishes, and returns when the broker has the message for good.
    ///
    /// # Errors
    /// The broker did not confirm it: it may have the message all the same, so publish it again with the same id.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>>;
}

//! Messages on their way to a broker.

use std::sync::Arc;

use idem_runtime::{
    clock::BoxFuture,
    outbox::{Keyed, OutboxMessage},
};

use crate::error::BrokerError;

/// The header in which a consumer finds the idempotency key (the name is that of the [HTTP field]).
///
/// [HTTP field]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
pub const KEY_HEADER: &str = "idempotency-key";

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The queue, stream or subject.
    pub to: String,
    /// What the broker or a consumer knows a second copy by; the idempotency key is a good one.
    pub id: Option<String>,
    /// Messages with the same lane stay in the order they were published, where the broker has
    /// lanes: Kafka's key. The others ignore it.
    pub ordering_key: Option<String>,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Further names and values.
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// A message for a queue, stream or subject.
    pub fn new(to: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            to: to.into(),
            id: None,
            ordering_key: None,
            payload: payload.into(),
            headers: Vec::new(),
        }
    }

    /// A message in JSON with its own key, which is its id and stands in the header [`KEY_HEADER`],
    /// and its own lane.
    ///
    /// # Errors
    /// When it cannot be turned into JSON.
    pub fn of(to: impl Into<String>, message: &impl Keyed) -> serde_json::Result<Self> {
        OutboxMessage::from_keyed(to, message).map(Self::from)
    }

    /// The same with an id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same in a lane.
    #[must_use]
    pub fn ordering_key(mut self, ordering_key: impl Into<String>) -> Self {
        self.ordering_key = Some(ordering_key.into());
        self
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl From<OutboxMessage> for Message {
    fn from(outgoing: OutboxMessage) -> Self {
        let OutboxMessage {
            destination,
            key,
            payload,
            ordering_key,
            mut headers,
            ..
        } = outgoing;
        headers.push((KEY_HEADER.to_owned(), key.clone()));
        Self {
            to: destination,
            id: Some(key),
            ordering_key: Some(ordering_key),
            payload,
            headers,
        }
    }
}

/// Where messages are published. It connects when it has to, and again after a connection broke.
pub trait Publisher: Send + Sync + 'static {
    /// Publishes, and returns when the broker has the message for good.
    ///
    /// # Errors
    /// The broker did not confirm it: it may have the message all the same, so publish it again
    /// with the same id.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>>;
}

impl<P: Publisher + ?Sized> Publisher for Arc<P> {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        (**self).publish(message)
    }
}

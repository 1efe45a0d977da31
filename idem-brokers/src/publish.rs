//! Messages to publish, and the trait of those that publish them.

use std::sync::Arc;

use idem_runtime::clock::BoxFuture;
use idem_runtime::outbox::{Keyed, OutboxMessage};

use crate::error::BrokerError;

/// The header with the idempotency key, named like the [HTTP field].
///
/// [HTTP field]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
pub const KEY_HEADER: &str = "idempotency-key";

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The queue, stream, topic or subject.
    pub to: String,
    /// Identifies copies of the message to the broker and to consumers, like the idempotency key.
    pub id: Option<String>,
    /// Messages with the same ordering key stay in the order of publishing, if the broker supports
    /// that: Kafka by the partition, RocketMQ by the queue. The others ignore it.
    pub ordering_key: Option<String>,
    /// The bytes.
    pub payload: Vec<u8>,
    /// The headers' names and values.
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// Creates a message for a queue, stream, topic or subject.
    pub fn new(to: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            to: to.into(),
            id: None,
            ordering_key: None,
            payload: payload.into(),
            headers: Vec::new(),
        }
    }

    /// Creates a JSON message whose key is its id and the value of the header [`KEY_HEADER`], with
    /// its ordering key.
    ///
    /// # Errors
    /// Returns an error if the message cannot be serialized.
    pub fn from_keyed(to: impl Into<String>, message: &impl Keyed) -> serde_json::Result<Self> {
        OutboxMessage::from_keyed(to, message).map(Self::from)
    }

    /// Sets the id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the ordering key.
    #[must_use]
    pub fn ordering_key(mut self, ordering_key: impl Into<String>) -> Self {
        self.ordering_key = Some(ordering_key.into());
        self
    }

    /// Adds a header.
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

/// Publishes messages. It connects with the first message, and again after a connection broke.
pub trait Publisher: Send + Sync + 'static {
    /// Publishes a message, and returns after the broker has confirmed it.
    ///
    /// # Errors
    /// Returns an error if the broker did not confirm the message. The broker may still have it, so
    /// publish it again with the same id.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>>;
}

impl<P: Publisher + ?Sized> Publisher for Arc<P> {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        (**self).publish(message)
    }
}

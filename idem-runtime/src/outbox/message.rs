//! A message that the outbox sends.

use minicbor::{Decode, Encode};
use serde::Serialize;

/// A message to be sent.
///
/// ```
/// use idem_runtime::outbox::OutboxMessage;
///
/// let event = OutboxMessage::new("orders.placed", "A-1001", br#"{"order_no":"A-1001"}"#).ordering_key("customer 7");
/// assert_eq!(event.key, "A-1001");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct OutboxMessage {
    /// The queue, topic, subject or stream.
    #[n(0)]
    pub destination: String,
    /// The idempotency key that its consumers see.
    #[n(1)]
    pub key: String,
    /// The body.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// Messages of one lane go out one after the other, in the order in which they were recorded:
    /// those of one handler as it enqueued them, and those of several as their results came. Its
    /// key, unless said.
    #[n(3)]
    pub ordering_key: String,
    /// Sent along.
    #[n(4)]
    pub headers: Vec<(String, String)>,
}

impl OutboxMessage {
    /// A message, in order with others of its key.
    pub fn new(
        destination: impl Into<String>,
        key: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        let key = key.into();
        Self {
            destination: destination.into(),
            ordering_key: key.clone(),
            key,
            payload: payload.into(),
            headers: Vec::new(),
        }
    }

    /// A message whose body is JSON.
    ///
    /// # Errors
    /// When the value cannot be turned into JSON.
    pub fn json(
        destination: impl Into<String>,
        key: impl Into<String>,
        body: &impl Serialize,
    ) -> serde_json::Result<Self> {
        Ok(Self::new(destination, key, serde_json::to_vec(body)?))
    }

    /// What it is to stay in order with: a customer, an account.
    #[must_use]
    pub fn ordering_key(mut self, lane: impl Into<String>) -> Self {
        self.ordering_key = lane.into();
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Returns the bytes of all its parts.
    pub(super) fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.destination.len()
            + self.key.len()
            + self.payload.len()
            + self.ordering_key.len()
            + headers
    }
}

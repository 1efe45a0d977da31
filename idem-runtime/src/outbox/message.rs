//! A message that the outbox sends.

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::trace::{self, TraceContext};

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
    /// The idempotency key for its consumers.
    #[n(1)]
    pub key: String,
    /// The body.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// Messages with the same ordering key are sent one after the other, in the order in which they
    /// were recorded: messages of one handler as it enqueued them, those of several as their
    /// results came. The default is the message's key.
    #[n(3)]
    pub ordering_key: String,
    /// The headers.
    #[n(4)]
    pub headers: Vec<(String, String)>,
}

impl OutboxMessage {
    /// Returns a message that is ordered by its key.
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

    /// Returns a message with a JSON body.
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

    /// Sets the ordering key, such as a customer or an account.
    #[must_use]
    pub fn ordering_key(mut self, ordering_key: impl Into<String>) -> Self {
        self.ordering_key = ordering_key.into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds the trace in which it is sent, unless its headers have one: of the span that this code
    /// runs in where OpenTelemetry is on, else what came with the call.
    pub(crate) fn hand_on(&mut self, came_with: Option<&TraceContext>) {
        let own = trace::span::current();
        trace::hand_on(own.as_ref().or(came_with), &mut self.headers);
    }

    /// Returns the size of all its parts in bytes.
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

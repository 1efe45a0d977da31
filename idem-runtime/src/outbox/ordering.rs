//! One definition of a message's key and order, for its sender and its consumer.

use serde::Serialize;

use super::message::OutboxMessage;

/// A message that knows its idempotency key and its ordering key.
///
/// The sender and the consumer share the type, so that the key, the order and the fingerprint (a
/// hash of the message as serde writes it) cannot differ: the outbox takes them with
/// [`OutboxMessage::from_keyed`], and the handler takes them from the message.
///
/// ```
/// use idem_runtime::{Error, idempotent, outbox::{Keyed, OutboxMessage}};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct PlaceOrder {
///     order_no: String,
///     customer: String,
/// }
///
/// impl Keyed for PlaceOrder {
///     fn key(&self) -> String {
///         self.order_no.clone()
///     }
///
///     fn ordering_key(&self) -> String {
///         self.customer.clone()
///     }
/// }
///
/// #[idempotent(key = order.key())]
/// async fn place_order(order: PlaceOrder) -> Result<(), Error> {
///     Ok(())
/// }
///
/// let order = PlaceOrder { order_no: "A-1001".into(), customer: "Ann".into() };
/// let outgoing = OutboxMessage::from_keyed("orders", &order)?;
/// assert_eq!((outgoing.key.as_str(), outgoing.ordering_key.as_str()), ("A-1001", "Ann"));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub trait Keyed: Serialize {
    /// Returns the idempotency key: the number of the order, not the id of a message.
    fn key(&self) -> String;

    /// Returns the ordering key: messages with the same one are sent and handled one after the
    /// other. The default is the idempotency key.
    fn ordering_key(&self) -> String {
        self.key()
    }
}

impl OutboxMessage {
    /// Returns a message in JSON with its own key and ordering key.
    ///
    /// # Errors
    /// When it cannot be turned into JSON.
    pub fn from_keyed(
        destination: impl Into<String>,
        message: &impl Keyed,
    ) -> serde_json::Result<Self> {
        Ok(Self::json(destination, message.key(), message)?.ordering_key(message.ordering_key()))
    }
}

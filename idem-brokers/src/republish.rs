//! Sends dead letters back to where they came from.

use std::sync::Arc;

use idem_runtime::{DeadLetter, Idem};

use crate::publish::{Message, Publisher};

/// Registers `publisher` with [`DeadLetters::republish`](idem_runtime::dead_letters::DeadLetters::republish) for
/// messages of one source. It is for a service that does not run the source's
/// [`Consumer`](crate::Consumer), which does this by itself, or sends them back by another way, such as
/// an exchange.
///
/// `source` is the source's [name](crate::Source::name), and `to` the queue, topic, stream or
/// subject that leads to it. A message is sent with its bytes, as edited, and its headers. It has
/// no id: the broker would drop it as a copy of the first one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use idem_brokers::{Source, testing};
/// use idem_runtime::Origin;
///
/// let idem = idem_runtime::testing::temporary()?;
/// let orders = testing::Queue::new("orders");
/// idem_brokers::republish(&idem, orders.name(), "orders", orders.clone());
///
/// let origin = Origin::new("memory", "orders");
/// let id = idem.bury("orders.place", "m-17", b"not JSON", origin, "expected ident").await?;
/// idem.dead_letters().by("ann").republish(&id).await?;
/// assert_eq!(orders.until_published(1).await[0].payload, b"not JSON");
/// # Ok(()) }
/// ```
pub fn republish(
    idem: &Idem,
    source: impl Into<String>,
    to: impl Into<String>,
    publisher: impl Publisher,
) {
    let (publisher, to) = (Arc::new(publisher), to.into());
    idem.register_publisher(source, move |letter: DeadLetter| {
        let (publisher, message) = (Arc::clone(&publisher), again(letter, &to));
        async move { publisher.publish(message).await }
    });
}

/// Returns the message of a letter.
pub(crate) fn again(letter: DeadLetter, to: &str) -> Message {
    let mut message = Message::new(to, letter.message());
    message.headers = letter
        .origin
        .map(|origin| origin.headers)
        .unwrap_or_default();
    message
}

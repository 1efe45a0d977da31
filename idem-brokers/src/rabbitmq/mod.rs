//! RabbitMQ: quorum queues, with delay queues for messages that wait for their next attempt.
//!
//! - A queue that does not exist is created as a durable quorum queue whose delivery limit is out
//!   of the way, because idem counts the attempts. An existing queue is used as it is. A delivery
//!   limit of its own makes the broker drop messages, or send them to its dead-letter exchange,
//!   before idem's budget is spent. Since RabbitMQ 4.3 `basic.nack` does not count
//!   towards it.
//! - The consumer's prefetch is the broker's, too.
//! - The message of a failed attempt waits in a delay queue, `orders.again.5000ms`, whose time to
//!   live leads back, so that it blocks no other message. If the broker crashes just as the pause
//!   ends, the message may be three minutes late: see
//!   `dead_letter_worker_publisher_confirm_timeout` in RabbitMQ's `advanced.config`.

mod connection;
mod consume;
mod delay_queue;
mod publish;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub use consume::{Delivery, Session};
use lapin::ConnectionProperties;
pub use publish::RabbitMqPublisher;

use crate::address::Address;
use crate::delivery::Source;
use crate::error::BrokerError;
use crate::publish::Publisher;

/// A queue.
///
/// ```no_run
/// # async fn place(order: String) -> Result<(), idem_runtime::Error> { Ok(()) }
/// # fn run(idem: idem_runtime::Idem) {
/// use idem_brokers::Consumer;
/// use idem_brokers::rabbitmq::RabbitMq;
///
/// let orders = RabbitMq::queue("amqp://127.0.0.1", "orders");
/// let consumer = Consumer::new(&idem, orders).start(place);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to a `Consumer`"]
pub struct RabbitMq {
    url: Address,
    queue: String,
    properties: ConnectionProperties,
    /// Whether the queue exists with other arguments than idem's.
    as_it_is: Arc<AtomicBool>,
}

impl RabbitMq {
    /// Names a queue of the broker at an `amqp://` or `amqps://` address.
    pub fn queue(url: impl Into<String>, queue: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            queue: queue.into(),
            properties: ConnectionProperties::default(),
            as_it_is: Arc::default(),
        }
    }

    /// Uses an existing queue, whatever its arguments are. Connecting fails if it does not exist.
    ///
    /// Without this, a process tries once to declare a queue that has other arguments, and the
    /// client logs the broker's refusal as an error.
    pub fn as_it_is(self) -> Self {
        self.as_it_is.store(true, Relaxed);
        self
    }

    /// Sets the connection's properties: its name, its authentication. The consumer reconnects by
    /// itself.
    pub fn properties(mut self, properties: ConnectionProperties) -> Self {
        self.properties = properties;
        self
    }
}

impl Source for RabbitMq {
    type Session = Session;

    fn name(&self) -> String {
        format!("rabbitmq:{}", self.queue)
    }

    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        let publisher = RabbitMqPublisher::new(self.url.expose());
        Some(Arc::new(publisher.properties(self.properties.clone())))
    }

    async fn connect(&self, prefetch: usize) -> Result<Session, BrokerError> {
        let connection = connection::connect(&self.url, self.properties.clone()).await?;
        connection::declare(&connection, &self.queue, &self.as_it_is).await?;
        Session::open(connection, self.name(), &self.queue, prefetch).await
    }
}

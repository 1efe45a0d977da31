//! NATS JetStream: durable pull consumers, with the server's own delayed redelivery.
//!
//! - A durable consumer that does not exist is created: it starts with the stream's first message
//!   and has no delivery limit, because idem counts the attempts. The stream has to exist, unless
//!   [`Nats::or_make`] creates it.
//! - The pause before the next attempt is the server's (`Nak` with a delay).
//! - The source sends an in-progress ack for each message it holds, every third of `ack_wait`.

mod connection;
mod consume;
mod publish;
mod pull;

use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
pub use consume::{Delivery, Session};
use idem_runtime::Origin;
pub use publish::NatsPublisher;

use crate::address::Address;
use crate::delivery::Source;
use crate::error::BrokerError;
use crate::publish::Publisher;

/// A stream, pulled through a durable consumer that the group shares.
///
/// ```no_run
/// # async fn place(order: String) -> Result<(), idem_runtime::Error> { Ok(()) }
/// # fn run(idem: idem_runtime::Idem) {
/// use idem_brokers::Consumer;
/// use idem_brokers::nats::Nats;
///
/// let orders = Nats::stream("nats://127.0.0.1", "ORDERS").durable("shop").subject("orders.new");
/// let consumer = Consumer::new(&idem, orders).start(place);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to a `Consumer`"]
pub struct Nats {
    url: Address,
    options: Option<ConnectOptions>,
    stream: String,
    durable: String,
    subject: String,
    make: Vec<String>,
    ack_wait: Duration,
    max_ack_pending: i64,
}

impl Nats {
    /// Names a stream of the server at a `nats://` or `tls://` address, and the durable consumer
    /// `idem`. The address may contain a user and a password, or a token alone.
    pub fn stream(url: impl Into<String>, stream: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            options: None,
            stream: stream.into(),
            durable: "idem".to_owned(),
            subject: String::new(),
            make: Vec::new(),
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 1000,
        }
    }

    /// Sets the durable consumer's name.
    pub fn durable(mut self, name: impl Into<String>) -> Self {
        self.durable = name.into();
        self
    }

    /// Filters messages by subject, with wildcards. It is used when the consumer is created.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Creates the stream with these subjects if it does not exist, on disk and without a limit.
    pub fn or_make<I: Into<String>>(mut self, subjects: impl IntoIterator<Item = I>) -> Self {
        self.make = subjects.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the connection's options: credentials, certificates. The consumer reconnects by itself.
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Sets after how long without a sign of life a message is redelivered, 30 seconds by default.
    /// It is used when the consumer is created. A message in progress gives a sign every third of
    /// it.
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.ack_wait = wait;
        self
    }

    /// Sets how many unacked messages the whole group may have, including those in a pause, 1,000
    /// by default. It is used when the consumer is created.
    pub fn max_ack_pending(mut self, messages: u32) -> Self {
        self.max_ack_pending = messages.into();
        self
    }
}

impl Source for Nats {
    type Session = Session;

    fn name(&self) -> String {
        format!("nats:{}", self.stream)
    }

    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        let publisher = NatsPublisher::new(self.url.expose());
        Some(Arc::new(match self.options.clone() {
            Some(options) => publisher.options(options),
            None => publisher,
        }))
    }

    /// A stream has many subjects.
    fn destination(&self, origin: &Origin) -> String {
        let subject = origin.position.as_deref().and_then(consume::subject);
        subject.unwrap_or(&self.subject).to_owned()
    }

    async fn connect(&self, _prefetch: usize) -> Result<Session, BrokerError> {
        Session::open(self).await
    }
}

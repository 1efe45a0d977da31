//! RabbitMQ: quorum queues, prefetch that follows the consumer, queues of the broker's own for what
//! comes again later.

mod again;
mod consume;
mod publish;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub use consume::{Consuming, Handed};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Error, ErrorKind};
pub use publish::Exchange;

use crate::address::Address;
use crate::delivery::Source;
use crate::error::BrokerError;

/// A queue.
///
/// One that is not there is made: a durable quorum queue, whose delivery limit is out of the way,
/// for idem counts the attempts. One that is there is taken as it is: a limit of its own makes the
/// broker drop messages, or send them to its dead-letter exchange, before idem's budget is spent.
/// Say [`as_it_is`](Self::as_it_is) of a queue that was made with other arguments: otherwise each
/// process asks for it once with these, and the client logs the broker's no as an error.
///
/// A failed attempt's message waits in a queue beside it, `orders.again.5000ms`, whose time to live
/// leads back.
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
    /// It is there, with arguments of its own.
    as_it_is: Arc<AtomicBool>,
}

impl RabbitMq {
    /// A queue of the broker at an `amqp://` or `amqps://` address.
    pub fn queue(url: impl Into<String>, queue: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            queue: queue.into(),
            properties: ConnectionProperties::default(),
            as_it_is: Arc::default(),
        }
    }

    /// The queue is there, however it was made; where it is not, connecting fails.
    pub fn as_it_is(self) -> Self {
        self.as_it_is.store(true, Relaxed);
        self
    }

    /// How to connect: a name for the connection, a way to authenticate. Reconnecting is the
    /// consumer's.
    pub fn properties(mut self, properties: ConnectionProperties) -> Self {
        self.properties = properties;
        self
    }
}

impl Source for RabbitMq {
    type Session = Consuming;

    fn name(&self) -> String {
        format!("rabbitmq:{}", self.queue)
    }

    async fn connect(&self, prefetch: usize) -> Result<Consuming, BrokerError> {
        Consuming::open(self, prefetch).await
    }
}

async fn connect(
    url: &Address,
    properties: ConnectionProperties,
) -> Result<Connection, BrokerError> {
    // rustls takes the process's own choice, where it made one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // What the client says of an address that it cannot read shows all of it.
    let wrong = |_| {
        BrokerError::new(
            "rabbitmq",
            "read the address",
            "it is no `amqp://user:password@host/vhost`",
        )
    };
    let uri: AMQPUri = url.expose().parse().map_err(wrong)?;
    Connection::connect_uri(uri, properties)
        .await
        .map_err(failed("connect"))
}

/// Makes the queue where it is not there.
///
/// The broker closes the channel of a question whose answer is no, and its client logs that as an
/// error. So a queue is asked for as it would be made, which answers both where there is none and
/// where there is one of ours.
async fn declare(
    connection: &Connection,
    queue: &str,
    as_it_is: &AtomicBool,
) -> Result<(), BrokerError> {
    if !as_it_is.load(Relaxed) {
        let mut arguments = quorum();
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
        match ask(connection, queue, QueueDeclareOptions::durable(), arguments).await {
            Err(error) if is_made_otherwise(&error) => {}
            made => return made.map_err(failed("make the queue")),
        }
        tracing::info!(
            queue,
            "the queue was made with other arguments, and is taken as it is: say so with `as_it_is()`"
        );
        as_it_is.store(true, Relaxed);
    }
    let look = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    ask(connection, queue, look, FieldTable::default())
        .await
        .map_err(failed("find the queue"))
}

/// Declares a queue on a channel of its own.
async fn ask(
    connection: &Connection,
    queue: &str,
    options: QueueDeclareOptions,
    arguments: FieldTable,
) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    channel
        .queue_declare(queue.into(), options, arguments)
        .await?;
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments
}

fn is_made_otherwise(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 406)
}

fn failed(doing: &'static str) -> impl Fn(Error) -> BrokerError {
    move |problem| BrokerError::new("rabbitmq", doing, problem)
}

//! Connecting, declaring queues, and publishing with confirms.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Error, ErrorKind,
};

use crate::address::Address;
use crate::error::BrokerError;

pub(super) async fn connect(
    url: &Address,
    properties: ConnectionProperties,
) -> Result<Connection, BrokerError> {
    // Has no effect if the process installed a provider of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The client's error would quote the whole address.
    let malformed = |_| {
        BrokerError::new(
            "rabbitmq",
            "read the address",
            "it does not have the form `amqp://user:password@host/vhost`",
        )
    };
    let uri: AMQPUri = url.expose().parse().map_err(malformed)?;
    Connection::connect_uri(uri, properties)
        .await
        .map_err(failed("connect"))
}

/// Opens a channel on which the broker confirms each message.
pub(super) async fn confirming_channel(connection: &Connection) -> Result<Channel, BrokerError> {
    let channel = connection
        .create_channel()
        .await
        .map_err(failed("open a channel"))?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .map_err(failed("turn confirms on"))?;
    Ok(channel)
}

/// Publishes a message, and returns after a queue has confirmed it.
pub(super) async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    payload: &[u8],
    properties: BasicProperties,
) -> Result<(), BrokerError> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let sent = channel
        .basic_publish(exchange.into(), key.into(), options, payload, properties)
        .await;
    let confirmed = sent
        .map_err(failed("publish"))?
        .await
        .map_err(failed("wait for a confirm"))?;
    let problem = match confirmed {
        Confirmation::Ack(None) => return Ok(()),
        Confirmation::Ack(Some(_)) => {
            format!("no queue is bound to exchange `{exchange}` with routing key `{key}`")
        }
        Confirmation::Nack(_) => "the broker refused the message".to_owned(),
        Confirmation::NotRequested => "the channel's confirms are off".to_owned(),
    };
    Err(BrokerError::new("rabbitmq", "publish", problem))
}

/// Creates the queue if it does not exist.
///
/// The broker closes the channel of a failed declaration, and its client logs that as an error. So
/// the queue is declared as it would be created, which succeeds both for a new queue and for one
/// that idem created.
pub(super) async fn declare(
    connection: &Connection,
    queue: &str,
    as_it_is: &AtomicBool,
) -> Result<(), BrokerError> {
    if !as_it_is.load(Relaxed) {
        let mut arguments = quorum();
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
        match declare_once(connection, queue, QueueDeclareOptions::durable(), arguments).await {
            Err(error) if has_other_arguments(&error) => {}
            declared => return declared.map_err(failed("create the queue")),
        }
        tracing::info!(
            queue,
            "the queue has other arguments and is used as it is; call `as_it_is()` to skip this check"
        );
        as_it_is.store(true, Relaxed);
    }
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    declare_once(connection, queue, passive, FieldTable::default())
        .await
        .map_err(failed("find the queue"))
}

/// Declares a queue on a channel of its own.
async fn declare_once(
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

/// Returns how many messages are ready in a queue, on a channel of its own: the broker closes it if
/// there is no such queue.
pub(super) async fn messages(connection: &Connection, queue: &str) -> lapin::Result<u32> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let channel = connection.create_channel().await?;
    let found = channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await?;
    let _ = channel.close(200, "done".into()).await;
    Ok(found.message_count())
}

/// Returns the arguments of a quorum queue.
pub(super) fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments
}

fn has_other_arguments(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 406)
}

pub(super) fn failed(doing: &'static str) -> impl Fn(Error) -> BrokerError {
    move |problem| BrokerError::new("rabbitmq", doing, problem)
}

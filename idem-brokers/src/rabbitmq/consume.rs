//! Consuming a queue.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use idem_runtime::Origin;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, Consumer};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::connection::{confirming_channel, failed};
use super::delay_queue::DelayQueues;
use crate::error::BrokerError;
use crate::metrics;

/// The header that counts how often the message waited in a delay queue.
const AGAIN: &str = "x-idem-again";
/// The broker's header that counts the deliveries before this one.
const COUNT: &str = "x-delivery-count";

/// How long a delay queue has to confirm a message: half of what the runner allows for giving one
/// back.
const CONFIRM: Duration = Duration::from_secs(5);
/// How often the messages in delay queues are counted.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// A connection to a queue.
#[derive(Debug)]
pub struct Session {
    connection: Arc<Connection>,
    consumer: Consumer,
    queue: Arc<str>,
    delay_queues: Arc<DelayQueues>,
    _counting: AbortOnDropHandle<()>,
}

impl Session {
    pub(super) async fn open(
        connection: Connection,
        source: String,
        queue: &str,
        prefetch: usize,
    ) -> Result<Self, BrokerError> {
        let publishing = confirming_channel(&connection).await?;
        let channel = connection
            .create_channel()
            .await
            .map_err(failed("open a channel"))?;
        // Messages that wait in the client count, too.
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
        channel
            .basic_qos(prefetch, BasicQosOptions::default())
            .await
            .map_err(failed("set the prefetch"))?;
        let options = BasicConsumeOptions::default();
        let consumer = channel
            .basic_consume(
                queue.into(),
                ShortString::default(),
                options,
                FieldTable::default(),
            )
            .await;
        let consumer = consumer.map_err(failed("consume the queue"))?;
        let connection = Arc::new(connection);
        let delay_queues = Arc::new(DelayQueues::new(queue, publishing));
        let counting = count_delayed(source, Arc::clone(&delay_queues), Arc::clone(&connection));
        Ok(Self {
            connection,
            consumer,
            queue: queue.into(),
            delay_queues,
            _counting: AbortOnDropHandle::new(tokio::spawn(counting)),
        })
    }
}

/// Counts the messages in the delay queues now and then.
async fn count_delayed(source: String, queues: Arc<DelayQueues>, connection: Arc<Connection>) {
    loop {
        tokio::time::sleep(COUNT_EVERY).await;
        match queues.waiting(&connection).await {
            Ok(count) => metrics::delayed(&source, count),
            Err(error) => tracing::debug!(%error, "the delay queues could not be counted"),
        }
    }
}

impl crate::Session for Session {
    type Delivery = Delivery;

    async fn next(&mut self, _room: usize) -> Result<Delivery, BrokerError> {
        let doing = "wait for a message";
        match self.consumer.next().await {
            Some(Ok(message)) => Ok(Delivery {
                queue: Arc::clone(&self.queue),
                delay_queues: Arc::clone(&self.delay_queues),
                message,
            }),
            Some(Err(error)) => Err(failed(doing)(error)),
            None => Err(BrokerError::new(
                "rabbitmq",
                doing,
                "the broker cancelled the consumer",
            )),
        }
    }

    async fn close(self) {
        // The broker requeues unacked messages when their channel closes.
        if let Err(error) = self.connection.close(200, "stopped".into()).await {
            tracing::debug!(%error, "the connection to RabbitMQ was closed already");
        }
    }
}

/// A message of a queue.
#[derive(Debug)]
pub struct Delivery {
    queue: Arc<str>,
    delay_queues: Arc<DelayQueues>,
    message: Message,
}

impl Delivery {
    fn count(&self, name: &str) -> i64 {
        let headers = self.message.properties.headers().as_ref();
        match headers.and_then(|headers| headers.inner().get(name)) {
            Some(AMQPValue::LongLongInt(count)) => *count,
            Some(AMQPValue::LongInt(count)) => i64::from(*count),
            Some(AMQPValue::LongUInt(count)) => i64::from(*count),
            _ => 0,
        }
    }
}

impl crate::Delivery for Delivery {
    fn payload(&self) -> &[u8] {
        &self.message.data
    }

    fn origin(&self) -> Origin {
        let properties = &self.message.properties;
        let redelivered = self.message.redelivered || self.redelivered() != Some(0);
        let mut origin = Origin::new("rabbitmq", &*self.queue).redelivered(redelivered);
        if let Some(id) = properties.message_id() {
            origin = origin.message_id(id.as_str());
        }
        let headers = properties.headers().iter().flat_map(FieldTable::inner);
        for (name, value) in headers.filter(|(name, _)| ![AGAIN, COUNT].contains(&name.as_str())) {
            origin = match value {
                AMQPValue::LongString(text) => origin.header_bytes(name.as_str(), text.as_bytes()),
                AMQPValue::ByteArray(bytes) => origin.header_bytes(name.as_str(), bytes.as_slice()),
                AMQPValue::ShortString(text) => origin.header(name.as_str(), text.as_str()),
                AMQPValue::Boolean(yes) => origin.header(name.as_str(), yes.to_string()),
                AMQPValue::ShortInt(number) => origin.header(name.as_str(), number.to_string()),
                AMQPValue::LongInt(number) => origin.header(name.as_str(), number.to_string()),
                AMQPValue::LongLongInt(number) => origin.header(name.as_str(), number.to_string()),
                AMQPValue::Double(number) => origin.header(name.as_str(), number.to_string()),
                // Tables and lists are the broker's history of the message.
                _ => origin,
            };
        }
        origin
    }

    fn redelivered(&self) -> Option<u32> {
        u32::try_from(self.count(COUNT) + self.count(AGAIN)).ok()
    }

    async fn ack(self) -> Result<(), BrokerError> {
        let acked = self.message.acker.ack(BasicAckOptions::default()).await;
        settled(acked, "ack a message")
    }

    async fn retry(self, after: Duration) -> Result<(), BrokerError> {
        let doing = "give a message back";
        let requeue = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        if after.is_zero() {
            return settled(self.message.acker.nack(requeue).await, doing);
        }
        let started = Instant::now();
        let mut headers = self
            .message
            .properties
            .headers()
            .clone()
            .unwrap_or_default();
        headers.insert(AGAIN.into(), AMQPValue::LongLongInt(self.count(AGAIN) + 1));
        let properties = self
            .message
            .properties
            .clone()
            .with_headers(headers)
            .with_delivery_mode(2);
        let error = match timeout(
            CONFIRM,
            self.delay_queues.put(&self.message.data, properties, after),
        )
        .await
        {
            // Acked only now: a crash in between leaves two copies, which is harmless.
            Ok(Ok(())) => {
                return settled(
                    self.message.acker.ack(BasicAckOptions::default()).await,
                    doing,
                );
            }
            Ok(Err(error)) => error.to_string(),
            // RabbitMQ 3.10 may lose a queue in a crash just after its creation: it takes messages
            // and never confirms them.
            Err(_) => format!("no confirm within {CONFIRM:?}"),
        };
        // It waits in this process instead.
        sleep_until(started + after.min(CONFIRM)).await;
        settled(self.message.acker.nack(requeue).await, doing)?;
        Err(BrokerError::new(
            "rabbitmq",
            "put a message into its delay queue",
            error,
        ))
    }
}

fn settled(result: lapin::Result<bool>, doing: &'static str) -> Result<(), BrokerError> {
    match result {
        Ok(true) => Ok(()),
        Ok(false) => Err(BrokerError::new(
            "rabbitmq",
            doing,
            "the message's channel is closed",
        )),
        Err(error) => Err(failed(doing)(error)),
    }
}

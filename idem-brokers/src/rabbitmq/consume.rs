//! Consuming a queue.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use idem_runtime::Origin;
use lapin::message::Delivery as Message;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, Consumer};
use tokio::time::{Instant, sleep_until, timeout};

use super::again::Again;
use super::{RabbitMq, connect, declare, failed};
use crate::delivery::{Delivery, Session};
use crate::error::BrokerError;

/// How often the message waited in a queue of ours.
const AGAIN: &str = "x-idem-again";
/// How often the broker says that it handed the message over before.
const COUNT: &str = "x-delivery-count";

/// How long a waiting queue has to take a message; half of what the runner allows for giving one
/// back.
const CONFIRM: Duration = Duration::from_secs(5);

/// One connection to a queue.
#[derive(Debug)]
pub struct Consuming {
    connection: Connection,
    consumer: Consumer,
    queue: Arc<str>,
    again: Arc<Again>,
}

impl Consuming {
    pub(super) async fn open(rabbitmq: &RabbitMq, prefetch: usize) -> Result<Self, BrokerError> {
        let queue = &*rabbitmq.queue;
        let connection = connect(&rabbitmq.url, rabbitmq.properties.clone()).await?;
        declare(&connection, queue, &rabbitmq.as_it_is).await?;
        let publishing = connection
            .create_channel()
            .await
            .map_err(failed("open a channel"))?;
        publishing
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(failed("turn confirms on"))?;
        let channel = connection
            .create_channel()
            .await
            .map_err(failed("open a channel"))?;
        // What the broker hands over ahead waits in the client, and counts.
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
        let again = Arc::new(Again::new(queue, publishing));
        Ok(Self {
            connection,
            consumer,
            queue: queue.into(),
            again,
        })
    }
}

impl Session for Consuming {
    type Delivery = Handed;

    async fn next(&mut self, _room: usize) -> Result<Handed, BrokerError> {
        let doing = "wait for a message";
        match self.consumer.next().await {
            Some(Ok(message)) => Ok(Handed {
                queue: Arc::clone(&self.queue),
                again: Arc::clone(&self.again),
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
        // The queue has back what was not acked as soon as its channel is gone.
        if let Err(error) = self.connection.close(200, "stopped".into()).await {
            tracing::debug!(%error, "the connection to RabbitMQ was gone already");
        }
    }
}

/// A message of a queue.
#[derive(Debug)]
pub struct Handed {
    queue: Arc<str>,
    again: Arc<Again>,
    message: Message,
}

impl Handed {
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

impl Delivery for Handed {
    fn payload(&self) -> &[u8] {
        &self.message.data
    }

    fn origin(&self) -> Origin {
        let properties = &self.message.properties;
        let mut origin = Origin::new("rabbitmq", &*self.queue);
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
                // Tables and lists are the broker's own story of the message.
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
        heard(acked, "ack a message")
    }

    async fn retry(self, after: Duration) -> Result<(), BrokerError> {
        let doing = "give a message back";
        let requeue = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        if after.is_zero() {
            return heard(self.message.acker.nack(requeue).await, doing);
        }
        let begun = Instant::now();
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
            self.again.put(&self.message.data, properties, after),
        )
        .await
        {
            // Only now: dying in between brings it twice, which does no harm.
            Ok(Ok(())) => {
                return heard(
                    self.message.acker.ack(BasicAckOptions::default()).await,
                    doing,
                );
            }
            Ok(Err(error)) => error.to_string(),
            // RabbitMQ 3.10 may lose a queue in a crash that was made just before: it takes
            // messages and never confirms one.
            Err(_) => format!("no confirm within {CONFIRM:?}"),
        };
        tracing::warn!(
            queue = &*self.queue,
            error,
            "its waiting queue does not take a message, which waits here instead"
        );
        sleep_until(begun + after.min(CONFIRM)).await;
        heard(self.message.acker.nack(requeue).await, doing)
    }
}

fn heard(said: lapin::Result<bool>, doing: &'static str) -> Result<(), BrokerError> {
    match said {
        Ok(true) => Ok(()),
        Ok(false) => Err(BrokerError::new(
            "rabbitmq",
            doing,
            "the message's channel is gone",
        )),
        Err(error) => Err(failed(doing)(error)),
    }
}

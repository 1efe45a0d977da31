//! Queues in which a message waits before it comes again.

use std::collections::HashSet;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, LongLongInt};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::Mutex;

use super::{failed, quorum};
use crate::error::BrokerError;

/// The pauses that have a queue, in milliseconds: few, for each is there for good. A longer one
/// comes in parts: the record says each time how much is left.
const PAUSES: [u32; 14] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
    21_600_000, 86_400_000,
];

/// The waiting queues of one queue.
#[derive(Debug)]
pub(super) struct Again {
    queue: String,
    /// Its confirms are on.
    channel: Channel,
    declared: Mutex<HashSet<u32>>,
}

impl Again {
    pub(super) fn new(queue: &str, channel: Channel) -> Self {
        Self {
            queue: queue.to_owned(),
            channel,
            declared: Mutex::default(),
        }
    }

    /// Puts a copy of a message where it waits, and returns when the broker has it for good.
    pub(super) async fn put(
        &self,
        payload: &[u8],
        properties: BasicProperties,
        after: Duration,
    ) -> Result<(), BrokerError> {
        let longest = PAUSES[PAUSES.len() - 1];
        let fits = |pause: &&u32| Duration::from_millis(u64::from(**pause)) >= after;
        let pause = PAUSES.iter().find(fits).copied().unwrap_or(longest);
        let name = self.declare(pause).await?;
        publish(&self.channel, "", &name, payload, properties).await
    }

    async fn declare(&self, pause: u32) -> Result<String, BrokerError> {
        let name = format!("{}.again.{pause}ms", self.queue);
        let mut declared = self.declared.lock().await;
        if declared.contains(&pause) {
            return Ok(name);
        }
        let mut arguments = quorum();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert(
            "x-message-ttl".into(),
            AMQPValue::LongLongInt(LongLongInt::from(pause)),
        );
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(&self.queue));
        // A message leaves only when the queue that it goes back to has it; the broker wants the
        // second for the first.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        let made = self
            .channel
            .queue_declare(
                name.as_str().into(),
                QueueDeclareOptions::durable(),
                arguments,
            )
            .await;
        made.map_err(failed("make a waiting queue"))?;
        declared.insert(pause);
        Ok(name)
    }
}

/// Publishes, and returns when a queue has the message for good.
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
    match confirmed {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => {
            let problem =
                format!("no queue is bound to exchange `{exchange}` with routing key `{key}`");
            Err(BrokerError::new("rabbitmq", "publish", problem))
        }
        Confirmation::Nack(_) => Err(BrokerError::new(
            "rabbitmq",
            "publish",
            "the broker refused the message",
        )),
        Confirmation::NotRequested => Err(BrokerError::new(
            "rabbitmq",
            "publish",
            "the channel's confirms are off",
        )),
    }
}

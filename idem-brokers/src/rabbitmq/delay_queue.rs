//! Queues in which a message waits for its redelivery.

use std::collections::HashMap;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, LongLongInt};
use lapin::{BasicProperties, Channel, Connection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::connection::{failed, messages, publish, quorum};
use crate::error::BrokerError;

/// The pauses that have a queue, in milliseconds. They are few, because a queue stays. A longer
/// pause comes in parts: the record says each time how much is left.
const PAUSES: [u32; 14] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
    21_600_000, 86_400_000,
];

/// How long a queue is declared before it gets a message. RabbitMQ writes the list of its quorum queues to
/// the disk half a second after one was created; if it is killed before, it never finds that queue again.
const LASTING: Duration = Duration::from_secs(1);

/// The delay queues of one queue.
#[derive(Debug)]
pub(super) struct DelayQueues {
    queue: String,
    /// A channel with confirms.
    channel: Channel,
    /// The queues that are there, and when each can take messages.
    declared: Mutex<HashMap<u32, Instant>>,
}

impl DelayQueues {
    pub(super) fn new(queue: &str, channel: Channel) -> Self {
        Self {
            queue: queue.to_owned(),
            channel,
            declared: Mutex::default(),
        }
    }

    /// Puts a copy of a message into a delay queue, and returns after the broker has confirmed it.
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

    /// Returns how many messages wait in the queues that this process has used. It looks for no
    /// others: the client logs an error for each that is missing.
    pub(super) async fn waiting(&self, connection: &Connection) -> Result<u64, BrokerError> {
        let used = self.declared.lock().await.clone();
        let mut waiting = 0;
        for pause in used.into_keys() {
            let count = messages(connection, &self.name(pause)).await;
            waiting += u64::from(count.map_err(failed("count a delay queue"))?);
        }
        Ok(waiting)
    }

    fn name(&self, pause: u32) -> String {
        format!("{}.again.{pause}ms", self.queue)
    }

    /// Declares a queue, and waits until it can take messages.
    async fn declare(&self, pause: u32) -> Result<String, BrokerError> {
        let name = self.name(pause);
        let lasts = self.lasting(pause, &name).await?;
        sleep_until(lasts).await;
        Ok(name)
    }

    async fn lasting(&self, pause: u32, name: &str) -> Result<Instant, BrokerError> {
        let mut declared = self.declared.lock().await;
        if let Some(lasts) = declared.get(&pause) {
            return Ok(*lasts);
        }
        let mut arguments = quorum();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert(
            "x-message-ttl".into(),
            AMQPValue::LongLongInt(LongLongInt::from(pause)),
        );
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(&self.queue));
        // A message leaves only after the queue that it goes back to has it. The broker requires
        // the second argument for the first.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        let created = self
            .channel
            .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments)
            .await;
        created.map_err(failed("create a delay queue"))?;
        let lasts = Instant::now() + LASTING;
        declared.insert(pause, lasts);
        Ok(lasts)
    }
}

//! Publishing to topics.

use idem_runtime::clock::BoxFuture;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::{ANSWER, ID, KEY, config, failed};
use crate::error::BrokerError;
use crate::publish::{Message, Publisher};

/// Publishes to the topics of a cluster, each message when all replicas in sync have it. A
/// message's lane is its record's key, so that one lane stays in one partition; without a lane a
/// header `key` is, as a message has it that goes back to its topic. Its id goes as the header
/// `message-id`. Kafka knows the second copies that its own client sends, and no others.
pub struct Topics {
    config: ClientConfig,
    producer: Mutex<Option<FutureProducer>>,
}

impl Topics {
    /// Those of the brokers at these addresses, `host:port` with commas between; it connects with
    /// the first message.
    pub fn at(servers: impl Into<String>) -> Self {
        let mut config = config(servers);
        // As the Java client does, so that a key has the same partition whoever sends it.
        config.set("partitioner", "murmur2_random");
        // A publisher that waits for each message gains nothing from waiting for others; and it
        // wants to know in time.
        config
            .set("linger.ms", "0")
            .set("message.timeout.ms", "30000");
        Self {
            config,
            producer: Mutex::default(),
        }
    }

    /// A setting of librdkafka's: who logs in, how messages are compressed. That all replicas have
    /// to answer stays.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.set(name, value);
        self
    }

    fn producer(&self) -> Result<FutureProducer, BrokerError> {
        let mut producer = self.producer.lock();
        if let Some(producer) = producer
            .as_ref()
            .filter(|producer| producer.client().fatal_error().is_none())
        {
            return Ok(producer.clone());
        }
        let mut config = self.config.clone();
        config.set("acks", "all").set("enable.idempotence", "true");
        Ok(producer
            .insert(config.create().map_err(failed("make a client"))?)
            .clone())
    }
}

impl Publisher for Topics {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let producer = self.producer()?;
            let id = message.id.iter().map(|id| (ID, id));
            let key = message
                .headers
                .iter()
                .find(|(name, _)| name == KEY)
                .map(|(_, value)| value);
            let headers = message
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value))
                .chain(id);
            let headers = headers.filter(|(name, _)| *name != KEY);
            let headers = headers.fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
            let mut record = FutureRecord::to(&message.to)
                .payload(&message.payload)
                .headers(headers);
            if let Some(key) = message.ordering_key.as_ref().or(key) {
                record = record.key(key);
            }
            let sent = producer.send(record, ANSWER).await;
            sent.map(drop)
                .map_err(|(error, _)| failed("publish to a topic")(error))
        })
    }
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topics").finish_non_exhaustive()
    }
}

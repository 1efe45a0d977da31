//! Publishing to topics.

use idem_runtime::clock::BoxFuture;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::connection::{ID, KEY, PATIENCE, config, failed};
use crate::error::BrokerError;
use crate::publish::{Message, Publisher};

/// Publishes to the topics of a cluster, and waits until all replicas in sync have the message.
///
/// The record's key is [`Message::ordering_key`], so that one ordering key stays in one partition,
/// or else the header `key`, which republished messages have. [`Message::id`] is the header
/// `message-id`. Kafka recognises the copies that its own client sends, and no others.
pub struct KafkaPublisher {
    config: ClientConfig,
    producer: Mutex<Option<FutureProducer>>,
}

impl KafkaPublisher {
    /// Publishes to the brokers at these addresses (`host:port`, separated by commas).
    pub fn new(servers: impl Into<String>) -> Self {
        let mut config = config(servers);
        // The Java client's default, so that a key has the same partition for all clients.
        config.set("partitioner", "murmur2_random");
        // Waiting for a batch is useless, because the caller waits for each message.
        config
            .set("linger.ms", "0")
            .set("message.timeout.ms", "30000");
        Self {
            config,
            producer: Mutex::default(),
        }
    }

    /// Publishes to the brokers of a consumer, with its login. librdkafka warns of a consumer's other
    /// properties in a producer.
    pub(super) fn beside(consumer: &ClientConfig) -> Self {
        let servers = consumer.get("bootstrap.servers").unwrap_or_default();
        let connects = |name: &str| {
            ["security.", "sasl.", "ssl.", "enable.ssl.", "enable.sasl."]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        let properties = consumer.config_map().into_iter();
        properties
            .filter(|(name, _)| connects(name))
            .fold(Self::new(servers), |publisher, (name, value)| {
                publisher.set(name, value)
            })
    }

    /// Sets a configuration property of librdkafka: the login, the compression. `acks` and
    /// `enable.idempotence` have no effect.
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
            .insert(config.create().map_err(failed("create a client"))?)
            .clone())
    }
}

impl Publisher for KafkaPublisher {
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
            let sent = producer.send(record, PATIENCE).await;
            sent.map(drop)
                .map_err(|(error, _)| failed("publish to a topic")(error))
        })
    }
}

impl std::fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaPublisher").finish_non_exhaustive()
    }
}

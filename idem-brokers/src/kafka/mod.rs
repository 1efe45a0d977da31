//! Kafka: consumer groups, with offsets committed up to the first unfinished message.
//!
//! - The message is the record's value, and its id the header `message-id`. The record's key is not
//!   unique; it is the header `key`. A new group starts with the oldest message.
//! - A partition is committed up to its first unfinished message, which the group's lag shows.
//!   Finished messages after it have no effect when they are redelivered.
//! - Kafka has no delayed redelivery. A message that waits for its next attempt is held in the
//!   process and counts towards the prefetch. If all messages that may be held are in a pause, no
//!   others are taken.
//! - A rebalance commits what is finished of a revoked partition. A call that still runs for it
//!   ends and is recorded, and the next consumer finds its result.
//! - The feature builds librdkafka, which takes a C compiler, `make` and some minutes. TLS needs
//!   OpenSSL, and compression other than lz4 and snappy a library: depend on `rdkafka` with the
//!   features `ssl`, `libz` or `zstd`, and configure it with [`Kafka::set`].

mod assignment;
mod connection;
mod consume;
mod inbox;
mod partition;
mod poll;
mod publish;

use std::sync::Arc;

pub use consume::Session;
pub use inbox::Delivery;
pub use publish::KafkaPublisher;
use rdkafka::ClientConfig;

use crate::delivery::Source;
use crate::error::BrokerError;
use crate::publish::Publisher;

/// Topics, read by a consumer group.
///
/// ```no_run
/// # async fn place(order: String) -> Result<(), idem_runtime::Error> { Ok(()) }
/// # fn run(idem: idem_runtime::Idem) {
/// use idem_brokers::Consumer;
/// use idem_brokers::kafka::Kafka;
///
/// let orders = Kafka::topic("127.0.0.1:9092", "orders").group("shop");
/// let consumer = Consumer::new(&idem, orders).start(place);
/// # }
/// ```
#[derive(Clone)]
#[must_use = "give it to a `Consumer`"]
pub struct Kafka {
    config: ClientConfig,
    topics: Vec<String>,
    /// The partitions and replicas of topics to create.
    create: Option<(i32, i32)>,
}

impl Kafka {
    /// Names a topic of the brokers at these addresses (`host:port`, separated by commas) and the
    /// group `idem`.
    pub fn topic(servers: impl Into<String>, topic: impl Into<String>) -> Self {
        let mut config = connection::config(servers);
        config
            .set("group.id", "idem")
            .set("auto.offset.reset", "earliest");
        Self {
            config,
            topics: vec![topic.into()],
            create: None,
        }
    }

    /// Adds a topic.
    pub fn and_topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Sets the consumer group.
    pub fn group(self, group: impl Into<String>) -> Self {
        self.set("group.id", group)
    }

    /// Creates the topics that do not exist, with this many partitions and replicas.
    pub fn or_make(mut self, partitions: i32, replicas: i32) -> Self {
        self.create = Some((partitions, replicas));
        self
    }

    /// Sets a configuration property of librdkafka: the login, how the group shares partitions. The
    /// properties of commits have no effect.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.set(name, value);
        self
    }
}

impl Source for Kafka {
    type Session = Session;

    fn name(&self) -> String {
        format!("kafka:{}", self.topics.join(","))
    }

    fn places(&self) -> Vec<String> {
        let places = self.topics.iter().map(|topic| format!("kafka:{topic}"));
        places.collect()
    }

    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        Some(Arc::new(KafkaPublisher::beside(&self.config)))
    }

    async fn connect(&self, prefetch: usize) -> Result<Session, BrokerError> {
        if let Some((partitions, replicas)) = self.create {
            connection::create_topics(&self.config, &self.topics, partitions, replicas).await?;
        }
        let mut config = self.config.clone();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        Session::open(config, self.topics.clone(), prefetch).await
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration may contain passwords.
        f.debug_struct("Kafka")
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

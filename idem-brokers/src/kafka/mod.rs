//! Kafka: one partition's messages in order, committed up to the first that is not finished.

mod assigned;
mod consume;
mod offsets;
mod poll;
mod publish;

use std::time::Duration;

pub use consume::{Consuming, Record};
pub use publish::Topics;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::delivery::Source;
use crate::error::BrokerError;

/// The header with the id its publisher gave a message.
const ID: &str = "message-id";
/// The record's key, among the headers of an `Origin`.
const KEY: &str = "key";
/// How long the broker has for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Topics, read by a consumer group.
///
/// The message is the record's value. Its key is not unique, so it is no id, and stands as `key`
/// among the headers; its id is the header `message-id`. A group that never committed begins with
/// the oldest message.
///
/// A partition is committed up to its first message that is not finished, and a replay of what was
/// finished behind it does no harm. Kafka itself has no pauses: a message whose attempt failed is
/// held here until it is due, at most as many as may be in flight, and its partition's committed
/// offset stands at it meanwhile. So the group's lag shows the oldest message that is not finished,
/// also while all behind it are; and while all that may be held are in a pause, no others are
/// taken.
///
/// After a rebalance, what still runs for a partition that went to another consumer runs to its end
/// and is recorded, but not committed any more: the other consumer finds its result.
///
/// TLS needs OpenSSL, and compression other than lz4 and snappy a library of its own: a service
/// that wants them names `rdkafka` among its own dependencies, with the features `ssl`, `libz`,
/// `zstd`, and says so by [`set`](Self::set).
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
    make: Option<(i32, i32)>,
}

impl Kafka {
    /// A topic of the brokers at these addresses, `host:port` with commas between, and the group
    /// `idem`.
    pub fn topic(servers: impl Into<String>, topic: impl Into<String>) -> Self {
        let mut config = config(servers);
        config
            .set("group.id", "idem")
            .set("auto.offset.reset", "earliest");
        Self {
            config,
            topics: vec![topic.into()],
            make: None,
        }
    }

    /// One topic more.
    pub fn and_topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// The consumer group.
    pub fn group(self, group: impl Into<String>) -> Self {
        self.set("group.id", group)
    }

    /// Makes the topics where they are not there, with so many partitions and so many copies of
    /// each.
    pub fn or_make(mut self, partitions: i32, copies: i32) -> Self {
        self.make = Some((partitions, copies));
        self
    }

    /// A setting of librdkafka's: who logs in, how the group shares its partitions. Commits stay
    /// the consumer's own.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.set(name, value);
        self
    }
}

impl Source for Kafka {
    type Session = Consuming;

    fn name(&self) -> String {
        format!("kafka:{}", self.topics.join(","))
    }

    async fn connect(&self, prefetch: usize) -> Result<Consuming, BrokerError> {
        if let Some((partitions, copies)) = self.make {
            make(&self.config, &self.topics, partitions, copies).await?;
        }
        let mut config = self.config.clone();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        Consuming::open(config, self.topics.clone(), prefetch).await
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Among the settings are passwords.
        f.debug_struct("Kafka")
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// Makes the topics that are not there.
async fn make(
    config: &ClientConfig,
    topics: &[String],
    partitions: i32,
    copies: i32,
) -> Result<(), BrokerError> {
    let doing = "make the topics";
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(failed(doing))?;
    let topics = topics
        .iter()
        .map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(copies)));
    let (topics, options) = (
        topics.collect::<Vec<_>>(),
        AdminOptions::new().request_timeout(Some(ANSWER)),
    );
    for made in admin
        .create_topics(&topics, &options)
        .await
        .map_err(failed(doing))?
    {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => {
                return Err(BrokerError::new(
                    "kafka",
                    format!("make the topic `{topic}`"),
                    error,
                ));
            }
        }
    }
    Ok(())
}

fn config(servers: impl Into<String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("client.id", "idem");
    config
}

fn failed(doing: &'static str) -> impl Fn(KafkaError) -> BrokerError {
    move |problem| BrokerError::new("kafka", doing, problem)
}

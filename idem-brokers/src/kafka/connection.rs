//! Connecting to a cluster, creating topics, and the headers of a message.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::error::BrokerError;

/// The header with the message's id.
pub(super) const ID: &str = "message-id";
/// The header of an `Origin` with the record's key.
pub(super) const KEY: &str = "key";
/// How long the broker has for a response.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Creates the topics that do not exist.
pub(super) async fn create_topics(
    config: &ClientConfig,
    topics: &[String],
    partitions: i32,
    replicas: i32,
) -> Result<(), BrokerError> {
    let doing = "create the topics";
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(failed(doing))?;
    let topics = topics
        .iter()
        .map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas)));
    let (topics, options) = (
        topics.collect::<Vec<_>>(),
        AdminOptions::new().request_timeout(Some(PATIENCE)),
    );
    for created in admin
        .create_topics(&topics, &options)
        .await
        .map_err(failed(doing))?
    {
        match created {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => {
                return Err(BrokerError::new(
                    "kafka",
                    format!("create the topic `{topic}`"),
                    error,
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn config(servers: impl Into<String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("client.id", "idem");
    config
}

pub(super) fn failed(doing: &'static str) -> impl Fn(KafkaError) -> BrokerError {
    move |problem| BrokerError::new("kafka", doing, problem)
}

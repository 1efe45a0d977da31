//! Publishing to topics.

use std::sync::Arc;

use idem_brokers::{BrokerError, Message, Publisher};
use idem_runtime::clock::BoxFuture;
use rocketmq_client_rust::{
    ClientRuntime, DefaultMQProducer, MessageQueueSelector, SelectMessageQueueByHash, SendStatus,
};
use rocketmq_model::common::message::message_single::Message as Outgoing;
use tokio::sync::Mutex;

use crate::connection::{Client, config, failed};

/// Publishes to topics that exist or that the broker creates, and returns after `SEND_OK`.
///
/// [`Message::id`] is the message's `KEYS`, and its headers are properties. Messages with the same
/// ordering key go to one queue of their topic, as long as the number of queues does not change.
/// RocketMQ does not recognise copies.
pub struct RocketMqPublisher {
    name_server: String,
    group: String,
    connected: Mutex<Option<Arc<Connected>>>,
}

struct Connected {
    client: Client,
    producer: Arc<DefaultMQProducer>,
}

impl RocketMqPublisher {
    /// Publishes to topics that the name servers at these addresses (`host:port`, separated by `;`)
    /// know, as a producer of the group `idem`.
    pub fn new(name_server: impl Into<String>) -> Self {
        Self {
            name_server: name_server.into(),
            group: "idem".to_owned(),
            connected: Mutex::default(),
        }
    }

    /// Sets the name of the producer group.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = name.into();
        self
    }

    /// Connects once, because the client reconnects by itself.
    async fn connected(&self) -> Result<Arc<Connected>, BrokerError> {
        let mut connected = self.connected.lock().await;
        if let Some(connected) = connected.as_ref() {
            return Ok(Arc::clone(connected));
        }
        let client = Client::start(0).await?;
        let starting = start(
            client.runtime(),
            self.name_server.clone(),
            self.group.clone(),
        );
        let producer = Arc::new(client.run("start the producer", starting).await?);
        Ok(Arc::clone(
            connected.insert(Arc::new(Connected { client, producer })),
        ))
    }
}

async fn start(
    runtime: Arc<ClientRuntime>,
    name_server: String,
    group: String,
) -> Result<DefaultMQProducer, BrokerError> {
    let producer = DefaultMQProducer::builder(runtime)
        .client_config(config(&name_server))
        .producer_group(group);
    let mut producer = producer.build();
    producer
        .start()
        .await
        .map_err(failed("start the producer"))?;
    Ok(producer)
}

impl Publisher for RocketMqPublisher {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let doing = "publish to a topic";
            let connected = self.connected().await?;
            let ordering_key = message.ordering_key.clone();
            let (message, producer) = (outgoing(message)?, Arc::clone(&connected.producer));
            let sent = connected.client.run(doing, async move {
                let sent = match ordering_key {
                    Some(ordering_key) => {
                        let hash = SelectMessageQueueByHash::new();
                        producer
                            .send_with_selector(
                                message,
                                move |queues, message, key| hash.select(queues, message, key),
                                ordering_key,
                            )
                            .await
                    }
                    None => producer.send(message).await,
                };
                sent.map_err(failed(doing))
            });
            match sent.await?.map(|sent| sent.send_status) {
                Some(SendStatus::SendOk) => Ok(()),
                status => Err(BrokerError::new(
                    "rocketmq",
                    doing,
                    format!("the broker reports {status:?}"),
                )),
            }
        })
    }
}

fn outgoing(message: Message) -> Result<Outgoing, BrokerError> {
    let mut outgoing = Outgoing::builder().topic(message.to).body(message.payload);
    if let Some(id) = message.id {
        outgoing = outgoing.key(text(id)?);
    }
    for (name, value) in message.headers {
        outgoing = outgoing
            .raw_property(text(name)?, text(value)?)
            .map_err(failed("write a header"))?;
    }
    outgoing.build().map_err(failed("write a message"))
}

/// Refuses the two characters that separate properties on the wire, because they cannot be escaped.
fn text(text: String) -> Result<String, BrokerError> {
    if text.contains(['\u{1}', '\u{2}']) {
        return Err(BrokerError::new(
            "rocketmq",
            "write a header",
            "it contains U+0001 or U+0002, which RocketMQ reserves",
        ));
    }
    Ok(text)
}

impl std::fmt::Debug for RocketMqPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocketMqPublisher")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

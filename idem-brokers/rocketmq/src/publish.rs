//! Publishing to topics.

use std::sync::Arc;

use idem_brokers::{BrokerError, Message, Publisher};
use idem_runtime::clock::BoxFuture;
use rocketmq_client_rust::{
    ClientRuntime, DefaultMQProducer, MessageQueueSelector, SelectMessageQueueByHash, SendStatus,
};
use rocketmq_model::common::message::message_single::Message as Outgoing;
use tokio::sync::Mutex;

use crate::client::{Client, config};
use crate::failed;

/// Publishes to topics, which have to be there, or which the broker makes by itself. A message's id
/// is its `KEYS`, its headers are properties. RocketMQ knows no second copies.
///
/// Messages of one lane go to one queue of their topic, as long as the number of its queues stays
/// the same.
pub struct Topics {
    name_server: String,
    group: String,
    connected: Mutex<Option<Arc<Connected>>>,
}

struct Connected {
    client: Client,
    producer: Arc<DefaultMQProducer>,
}

impl Topics {
    /// Those that the name servers at `host:port` know, several with `;` between; it connects with
    /// the first message, as a producer of the group `idem`.
    pub fn at(name_server: impl Into<String>) -> Self {
        Self {
            name_server: name_server.into(),
            group: "idem".to_owned(),
            connected: Mutex::default(),
        }
    }

    /// The name of the producers' group, as operators see it.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = name.into();
        self
    }

    /// The client connects again by itself, so one is enough.
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

impl Publisher for Topics {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let doing = "publish to a topic";
            let connected = self.connected().await?;
            let lane = message.ordering_key.clone();
            let (message, producer) = (outgoing(message)?, Arc::clone(&connected.producer));
            let sent = connected.client.run(doing, async move {
                let sent = match lane {
                    Some(lane) => {
                        let hash = SelectMessageQueueByHash::new();
                        producer
                            .send_with_selector(
                                message,
                                move |queues, one, lane| hash.select(queues, one, lane),
                                lane,
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
                    format!("the broker says {status:?}"),
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

/// Two characters stand between properties on the wire, and nothing protects them.
fn text(text: String) -> Result<String, BrokerError> {
    if text.contains(['\u{1}', '\u{2}']) {
        return Err(BrokerError::new(
            "rocketmq",
            "write a header",
            format!("{text:?} has characters that RocketMQ keeps"),
        ));
    }
    Ok(text)
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topics")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

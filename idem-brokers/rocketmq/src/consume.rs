//! Consuming a topic.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cheetah_string::CheetahString;
use idem_brokers::BrokerError;
use idem_runtime::Origin;
use rocketmq_client_rust::{DefaultMQPushConsumer, MQPushConsumer};
use rocketmq_model::common::consumer::consume_from_where::ConsumeFromWhere;
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_model::common::message::{MessageConst, STRING_HASH_SET};
use tokio::sync::{mpsc, oneshot};

use crate::RocketMq;
use crate::connection::{Client, MOST_THREADS, NEVER, config, failed};
use crate::delay::level;
use crate::listener::{Arrival, Listener};

/// How long the client may finish at the end. Messages that were not delivered take all of it.
const GRACE: Duration = Duration::from_secs(1);
/// The most messages in one request.
const PULL: u32 = 32;

/// A consumer's connection, which the client restores by itself.
pub struct Session {
    client: Client,
    consumer: Arc<DefaultMQPushConsumer>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    delays: Arc<[Duration]>,
}

impl Session {
    pub(super) async fn open(rocketmq: &RocketMq, prefetch: usize) -> Result<Self, BrokerError> {
        let prefetch = prefetch.min(MOST_THREADS);
        let client = Client::start(prefetch).await?;
        let (listener, arrivals) = Listener::new();
        let delays = rocketmq.delays.clone().into();
        let consumer = client.run(
            "start the consumer",
            start(client.runtime(), rocketmq.clone(), prefetch, listener),
        );
        match consumer.await {
            Ok(consumer) => Ok(Self {
                client,
                consumer: Arc::new(consumer),
                arrivals,
                delays,
            }),
            Err(error) => {
                client.close().await;
                Err(error)
            }
        }
    }
}

async fn start(
    runtime: Arc<rocketmq_client_rust::ClientRuntime>,
    rocketmq: RocketMq,
    prefetch: usize,
    listener: Listener,
) -> Result<DefaultMQPushConsumer, BrokerError> {
    let threads = u32::try_from(prefetch).unwrap_or(1);
    let mut consumer = DefaultMQPushConsumer::builder(runtime)
        .client_config(config(&rocketmq.name_server))
        .consumer_group(rocketmq.group)
        .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
        .consume_message_batch_max_size(1)
        .consume_thread_min(threads)
        .consume_thread_max(threads)
        .pull_batch_size(threads.min(PULL))
        .pull_threshold_for_queue(threads)
        // idem counts the attempts.
        .max_reconsume_times(i32::MAX)
        .consume_timeout(NEVER.as_secs() / 60)
        .build();
    consumer
        .register_consume_message_hook(listener.clone())
        .map_err(failed("watch the client"))?;
    consumer.register_message_listener_concurrently(listener);
    let topic = rocketmq.topic.as_str();
    consumer
        .subscribe(topic, rocketmq.tags.as_str())
        .await
        .map_err(failed("subscribe to the topic"))?;
    consumer
        .start()
        .await
        .map_err(failed("start the consumer"))?;
    // The client starts without its servers, too, and waits. The runner connects again with backoff
    // instead.
    if let Err(error) = consumer.fetch_subscribe_message_queues(topic).await {
        consumer.shutdown().await;
        return Err(failed("find the topic, which has to exist")(error));
    }
    Ok(consumer)
}

impl idem_brokers::Session for Session {
    type Delivery = Delivery;

    async fn next(&mut self, _room: usize) -> Result<Delivery, BrokerError> {
        let Some(Arrival { message, done }) = self.arrivals.recv().await else {
            return Err(BrokerError::new(
                "rocketmq",
                "wait for a message",
                "the client has ended",
            ));
        };
        let body = message.body().unwrap_or_default();
        let (consumer, delays) = (Arc::clone(&self.consumer), Arc::clone(&self.delays));
        Ok(Delivery {
            client: self.client.handle(),
            consumer,
            delays,
            message,
            body,
            done,
        })
    }

    async fn close(self) {
        let Self {
            client,
            consumer,
            arrivals,
            ..
        } = self;
        let ended = async move {
            if let Some(consumer) = consumer.default_mq_push_consumer_impl() {
                // Stores the offsets of acked messages in the broker.
                consumer
                    .shutdown(u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX))
                    .await;
            }
            Ok(())
        };
        if let Err(error) = client.run("stop the consumer", ended).await {
            tracing::debug!(%error, "RocketMQ's client had ended already");
        }
        // Dropped last: a listener without a verdict makes the client give its message back.
        drop(arrivals);
        client.close().await;
    }
}

/// A message of a topic.
pub struct Delivery {
    client: tokio::runtime::Handle,
    consumer: Arc<DefaultMQPushConsumer>,
    delays: Arc<[Duration]>,
    message: Arc<MessageExt>,
    body: Bytes,
    done: oneshot::Sender<()>,
}

impl Delivery {
    fn property(&self, name: &'static str) -> Option<&str> {
        self.message
            .properties()
            .get(name)
            .map(CheetahString::as_str)
    }

    /// Lets the client mark the message as consumed.
    fn finish(done: oneshot::Sender<()>, doing: &'static str) -> Result<(), BrokerError> {
        done.send(())
            .map_err(|()| BrokerError::new("rocketmq", doing, "the client has dropped the message"))
    }
}

impl idem_brokers::Delivery for Delivery {
    fn payload(&self) -> &[u8] {
        &self.body
    }

    /// Returns the origin with the message's `KEYS` as its id. RocketMQ's own id, which changes
    /// when the message is sent again, is part of the position.
    fn origin(&self) -> Origin {
        let message = &self.message;
        // A redelivered message is a copy with an id of its own.
        let first = self
            .property(MessageConst::PROPERTY_ORIGIN_MESSAGE_ID)
            .unwrap_or(message.msg_id().as_str());
        let (broker, queue, offset) = (
            message.broker_name(),
            message.queue_id(),
            message.queue_offset(),
        );
        let position = format!("broker {broker}, queue {queue}, offset {offset}, message {first}");
        let mut origin = Origin::new("rocketmq", message.topic().as_str()).position(position);
        // Else it is not known: a delivery to a consumer that died is not counted.
        if message.reconsume_times() > 0 {
            origin = origin.redelivered(true);
        }
        if let Some(keys) = self.property(MessageConst::PROPERTY_KEYS) {
            origin = origin.message_id(keys);
        }
        let ours = message
            .properties()
            .iter()
            .filter(|(name, _)| !STRING_HASH_SET.contains(name.as_str()));
        let mut headers: Vec<_> = ours.collect();
        headers.sort();
        headers.iter().fold(origin, |origin, (name, value)| {
            origin.header(name.as_str(), value.as_str())
        })
    }

    fn redelivered(&self) -> Option<u32> {
        u32::try_from(self.message.reconsume_times()).ok()
    }

    async fn ack(self) -> Result<(), BrokerError> {
        Self::finish(self.done, "ack a message")
    }

    /// Sends the message back as the client does after `ReconsumeLater`, but with the delay level,
    /// which a listener cannot choose.
    async fn retry(self, after: Duration) -> Result<(), BrokerError> {
        let doing = "give a message back";
        let level = level(&self.delays, after);
        let (consumer, mut message) = (self.consumer, MessageExt::clone(&self.message));
        let sent = self.client.spawn(async move {
            let Some(consumer) = consumer.default_mq_push_consumer_impl() else {
                return Err(BrokerError::new("rocketmq", doing, "the client has ended"));
            };
            let broker = Some(message.broker_name.clone());
            let sent = consumer
                .send_message_back_with_broker_name(&mut message, level, broker, None)
                .await;
            sent.map_err(failed(doing))
        });
        // After an error `done` is dropped, and the client gives the message back itself.
        sent.await.map_err(failed(doing))??;
        Self::finish(self.done, doing)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("group", &self.consumer.consumer_group())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = &self.message;
        let (queue, offset) = (message.queue_id(), message.queue_offset());
        f.debug_struct("Delivery")
            .field("queue", &queue)
            .field("offset", &offset)
            .finish_non_exhaustive()
    }
}

//! Real brokers under measurement: filled, and emptied by clients of their own.

use futures_util::{StreamExt, TryStreamExt};
use idem_brokers::nats::Nats;
use idem_brokers::rabbitmq::RabbitMq;
use idem_brokers::{Session, Source};
use idem_test_support::servers::{NATS, Needs, RABBITMQ, Server};
use lapin::BasicProperties;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;

use crate::orders::delivery;

/// Messages that are on their way to the broker at a time.
const SENDING: usize = 1000;

/// Messages that a client of a broker's own has unacked at most: as many as idem's consumer with 64
/// in flight.
const PREFETCH: u16 = 127;

/// A broker with queues of orders.
pub trait Queues {
    /// What its name is.
    const NAME: &'static str;
    /// What idem takes messages from.
    type Source: Source;

    /// Starts one.
    fn start() -> impl Future<Output = anyhow::Result<Self>>
    where
        Self: Sized;

    /// Makes a queue with the orders of these numbers.
    fn fill(
        &self,
        queue: &str,
        numbers: std::ops::Range<u64>,
    ) -> impl Future<Output = anyhow::Result<()>>;

    /// A queue, for idem's consumer. `reader` is a group's name, where the broker has groups.
    fn source(&self, queue: &str, reader: &str) -> Self::Source;

    /// Takes so many messages with the broker's own client, works on so many at a time, and acks
    /// each.
    fn own(
        &self,
        queue: &str,
        messages: u64,
        at_a_time: usize,
        work: impl AsyncFn(&[u8]),
    ) -> impl Future<Output = anyhow::Result<()>>;
}

fn message(number: u64) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&delivery(number))?)
}

/// NATS JetStream, on the disk.
pub struct NatsQueues(Server);

impl Queues for NatsQueues {
    const NAME: &'static str = "NATS";
    type Source = Nats;

    async fn start() -> anyhow::Result<Self> {
        Ok(Self(Server::start(&NATS, Needs::Any).await?))
    }

    async fn fill(&self, queue: &str, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        let context = async_nats::jetstream::new(async_nats::connect(self.0.address()).await?);
        let (name, subjects) = (queue.to_owned(), vec![queue.to_owned()]);
        context
            .create_stream(async_nats::jetstream::stream::Config {
                name,
                subjects,
                ..Default::default()
            })
            .await?;
        let sent = futures_util::stream::iter(numbers).map(|number| {
            let context = &context;
            async move {
                context
                    .publish(queue.to_owned(), message(number)?.into())
                    .await?
                    .await?;
                anyhow::Ok(())
            }
        });
        let mut sent = sent.buffer_unordered(SENDING);
        while let Some(sent) = sent.next().await {
            sent?;
        }
        Ok(())
    }

    fn source(&self, queue: &str, reader: &str) -> Nats {
        Nats::stream(self.0.address(), queue).durable(reader)
    }

    async fn own(
        &self,
        queue: &str,
        messages: u64,
        at_a_time: usize,
        work: impl AsyncFn(&[u8]),
    ) -> anyhow::Result<()> {
        use async_nats::jetstream::consumer::pull::Config;
        let client = async_nats::connect(self.0.address()).await?;
        let stream = async_nats::jetstream::new(client.clone())
            .get_stream(queue)
            .await?;
        let (durable_name, max_ack_pending) = (Some("own".to_owned()), PREFETCH.into());
        let config = Config {
            durable_name,
            max_ack_pending,
            ..Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let coming = consumer
            .stream()
            .max_messages_per_batch(PREFETCH.into())
            .messages()
            .await?;
        let coming = coming
            .take(usize::try_from(messages)?)
            .map_err(anyhow::Error::from);
        let each = coming.try_for_each_concurrent(at_a_time, async |message| {
            work(&message.payload).await;
            message
                .ack()
                .await
                .map_err(|error| anyhow::anyhow!("{error}"))
        });
        each.await?;
        client.flush().await?;
        Ok(())
    }
}

/// RabbitMQ with quorum queues.
pub struct RabbitQueues(Server);

impl RabbitQueues {
    async fn connection(&self) -> anyhow::Result<lapin::Connection> {
        Ok(
            lapin::Connection::connect(self.0.address(), lapin::ConnectionProperties::default())
                .await?,
        )
    }
}

impl Queues for RabbitQueues {
    const NAME: &'static str = "RabbitMQ";
    type Source = RabbitMq;

    async fn start() -> anyhow::Result<Self> {
        Ok(Self(Server::start(&RABBITMQ, Needs::Any).await?))
    }

    async fn fill(&self, queue: &str, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        // It makes the queue.
        self.source(queue, "").connect(1).await?.close().await;
        let connection = self.connection().await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let sent = futures_util::stream::iter(numbers).map(|number| {
            let channel = &channel;
            async move {
                let (options, properties) = (
                    BasicPublishOptions::default(),
                    BasicProperties::default().with_delivery_mode(2),
                );
                let message = message(number)?;
                channel
                    .basic_publish("".into(), queue.into(), options, &message, properties)
                    .await?
                    .await?;
                anyhow::Ok(())
            }
        });
        let mut sent = sent.buffer_unordered(SENDING);
        while let Some(sent) = sent.next().await {
            sent?;
        }
        connection.close(200, "done".into()).await?;
        Ok(())
    }

    fn source(&self, queue: &str, _reader: &str) -> RabbitMq {
        RabbitMq::queue(self.0.address(), queue)
    }

    async fn own(
        &self,
        queue: &str,
        messages: u64,
        at_a_time: usize,
        work: impl AsyncFn(&[u8]),
    ) -> anyhow::Result<()> {
        let connection = self.connection().await?;
        let channel = connection.create_channel().await?;
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        let options = BasicConsumeOptions::default();
        let coming = channel
            .basic_consume(queue.into(), "own".into(), options, FieldTable::default())
            .await?;
        let coming = coming
            .take(usize::try_from(messages)?)
            .map_err(anyhow::Error::from);
        let each = coming.try_for_each_concurrent(at_a_time, async |delivery| {
            work(&delivery.data).await;
            delivery.ack(BasicAckOptions::default()).await?;
            Ok(())
        });
        each.await?;
        // The broker has the acks when it has answered what was said after them.
        connection.close(200, "done".into()).await?;
        Ok(())
    }
}

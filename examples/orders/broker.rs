//! The same service behind a real broker.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use idem_brokers::nats::{Nats, NatsPublisher};
use idem_brokers::rabbitmq::{RabbitMq, RabbitMqPublisher};
use idem_brokers::redis::{Redis, RedisPublisher};
use idem_brokers::{Consumer, Message, Publisher, Running, Session, Source};
use idem_runtime::Idem;
use parking_lot::Mutex;
use tokio::time::sleep;
use url::Url;

use crate::book::Book;
use crate::delivery::Delivery;
use crate::order::PlaceOrder;
use crate::shop::{Shop, place_order};
use crate::summary::{Answer, Summary, Unit};
use crate::{IN_FLIGHT, progress_bar};

/// How long a stopped consumer may take to finish its calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// The consumer of the orders, and the publisher that sends them.
pub(crate) struct Queue {
    publisher: Arc<dyn Publisher>,
    name: String,
    consumer: Running,
    summary: Arc<Mutex<Summary>>,
}

impl Queue {
    /// Starts to consume orders from the broker at `url`.
    pub(crate) async fn open(
        idem: &Idem,
        book: &Book,
        url: &Url,
        name: &str,
    ) -> anyhow::Result<Self> {
        let address = url.as_str().to_owned();
        let shop = Opening {
            idem: idem.clone(),
            book: book.clone(),
            name: name.to_owned(),
        };
        match url.scheme() {
            "amqp" | "amqps" => {
                shop.take(
                    RabbitMq::queue(&address, name),
                    RabbitMqPublisher::new(&address),
                )
                .await
            }
            "nats" | "tls" => {
                shop.take(
                    Nats::stream(&address, name).or_make([name]),
                    NatsPublisher::new(&address),
                )
                .await
            }
            "redis" | "rediss" => {
                shop.take(Redis::stream(&address, name), RedisPublisher::new(&address))
                    .await
            }
            #[cfg(feature = "kafka")]
            "kafka" => {
                use idem_brokers::kafka::{Kafka, KafkaPublisher};
                let servers = url.authority();
                shop.take(
                    Kafka::topic(servers, name).or_make(4, 1),
                    KafkaPublisher::new(servers),
                )
                .await
            }
            #[cfg(feature = "rocketmq")]
            "rocketmq" => {
                let server = url.authority();
                shop.take(
                    idem_rocketmq::RocketMq::topic(server, name),
                    idem_rocketmq::RocketMqPublisher::new(server),
                )
                .await
            }
            other => bail!(
                "unknown broker `{other}://`: use amqp, nats or redis, kafka with `--features kafka`, or rocketmq \
                 with `--manifest-path idem-brokers/rocketmq/Cargo.toml`"
            ),
        }
    }

    /// Sends the deliveries to the queue and waits until that many messages are settled and no more
    /// arrive: earlier runs may have left some.
    pub(crate) async fn deliver(&self, deliveries: Vec<Delivery>) -> anyhow::Result<Summary> {
        let (sent, progress) = (deliveries.len() as u64, progress_bar(deliveries.len()));
        for delivery in deliveries {
            // Without an id, because some brokers would drop the duplicates themselves.
            self.publisher
                .publish(Message::new(&self.name, delivery.text))
                .await?;
        }
        let mut settled = None;
        while settled < Some(sent) || settled != Some(self.consumer.settled()) {
            settled = Some(self.consumer.settled());
            progress.set_position(settled.unwrap_or_default());
            sleep(Duration::from_millis(500)).await;
        }
        progress.finish_and_clear();
        let mut summary = std::mem::take(&mut *self.summary.lock());
        let decoded = summary.delivered;
        summary.unit = Unit::Messages;
        summary.delivered = usize::try_from(self.consumer.settled()).unwrap_or(usize::MAX);
        // The others could not be decoded, and are dead letters.
        summary.dead_lettered += summary.delivered.saturating_sub(decoded);
        Ok(summary)
    }

    /// Stops the consumer after its running calls.
    pub(crate) async fn close(self) {
        self.consumer.stop(PATIENCE).await;
    }
}

struct Opening {
    idem: Idem,
    book: Book,
    name: String,
}

impl Opening {
    async fn take(self, source: impl Source, publisher: impl Publisher) -> anyhow::Result<Queue> {
        // A broker that is not reachable is an error here; later the consumer reconnects by itself.
        source.connect(1).await?.close().await;
        let (summary, book) = (Arc::<Mutex<Summary>>::default(), self.book);
        let counted = Arc::clone(&summary);
        let consumer = Consumer::new(&self.idem, source)
            .in_flight(IN_FLIGHT)
            .name("orders.place");
        let consumer = consumer.start(move |order: PlaceOrder| {
            let (shop, counted) = (Shop::new(&book), Arc::clone(&counted));
            async move {
                let placed = place_order(order, &shop).await;
                counted
                    .lock()
                    .add_message(Answer::of(&placed, &shop), shop.retried());
                placed
            }
        });
        ensure!(consumer.taking().await, "the consumer was stopped");
        Ok(Queue {
            publisher: Arc::new(publisher),
            name: self.name,
            consumer,
            summary,
        })
    }
}

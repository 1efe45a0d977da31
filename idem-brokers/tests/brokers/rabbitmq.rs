//! The scenarios on RabbitMQ.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_brokers::rabbitmq::{RabbitMq, RabbitMqPublisher};
use idem_brokers::{Delivery, Message, Publisher, Session, Source};
use idem_test_support::servers::{HASTY_RABBITMQ, Kind, Needs, RABBITMQ, Server, trial};
use idem_test_support::within;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use libtest_mimic::Trial;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use crate::broker::{Broker, Stage, until};
use crate::scenarios::causes::drain;
use crate::scenarios::{self, named};
use crate::shop::PlaceOrder;

pub(crate) fn all() -> Vec<Trial> {
    let mut tests = scenarios::all::<Queue>();
    tests.push(named::<Queue, _>(
        "waiting_queue_that_takes_nothing",
        Needs::Any,
        waiting_queue_that_takes_nothing,
    ));
    tests.push(trial(
        "rabbitmq::consumer_timeout_in_a_pause",
        &HASTY_RABBITMQ,
        Needs::Own,
        consumer_timeout,
    ));
    tests.push(named::<Queue, _>(
        "queue_of_another_kind_is_taken_as_it_is",
        Needs::Any,
        queue_of_another_kind,
    ));
    tests.push(named::<Queue, _>(
        "messages_in_delay_queues_are_counted",
        Needs::Any,
        delayed_messages,
    ));
    tests
}

pub(crate) struct Queue {
    address: String,
    name: String,
}

impl Queue {
    /// Returns the numbers of a queue's ready messages and consumers, or `None` if it does not
    /// exist.
    async fn look(&self, connection: &Connection, name: &str) -> anyhow::Result<(u64, u32)> {
        let channel = connection.create_channel().await?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        match channel
            .queue_declare(name.into(), passive, FieldTable::default())
            .await
        {
            Ok(queue) => Ok((queue.message_count().into(), queue.consumer_count())),
            Err(error)
                if error.to_string().contains("NOT_FOUND") || error.to_string().contains("404") =>
            {
                Ok((0, 0))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Broker for Queue {
    const NAME: &'static str = "rabbitmq";
    const KIND: &'static Kind = &RABBITMQ;
    /// A queue does not keep acked messages.
    const REWINDS: bool = false;
    type Source = RabbitMq;
    type Publisher = RabbitMqPublisher;

    fn new(address: &str, name: &str) -> Self {
        Self {
            address: address.to_owned(),
            name: name.to_owned(),
        }
    }

    async fn declare(&self) -> anyhow::Result<()> {
        // The consumer creates the queue, and the delay queue in which the shop's orders wait. That
        // one is used when both are a second old: a broker that is killed before may lose them.
        let mut session = self.source().connect(1).await?;
        self.publisher()
            .publish(Message::new(&self.name, "first"))
            .await?;
        session
            .next(1)
            .await?
            .retry(Duration::from_millis(50))
            .await?;
        session.next(1).await?.ack().await?;
        session.close().await;
        Ok(())
    }

    fn source(&self) -> RabbitMq {
        RabbitMq::queue(&self.address, &self.name)
    }

    fn publisher(&self) -> RabbitMqPublisher {
        RabbitMqPublisher::new(&self.address)
    }

    async fn left(&self) -> anyhow::Result<u64> {
        let connection =
            Connection::connect(&self.address, ConnectionProperties::default()).await?;
        let waiting = ["100ms", "200ms", "500ms", "1000ms", "2000ms"]
            .map(|pause| format!("{}.again.{pause}", self.name));
        let mut seen = 0;
        loop {
            let (mut left, consumers) = self.look(&connection, &self.name).await?;
            for name in &waiting {
                left += self.look(&connection, name).await?.0;
            }
            // A consumer's messages are ready again once the queue has noticed its end. A message
            // on its way from a delay queue is in neither for a moment.
            if consumers == 0 && (left > 0 || seen == 3) {
                connection.close(200, "done".into()).await?;
                return Ok(left);
            }
            seen = if consumers == 0 { seen + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn rewind(&mut self) -> anyhow::Result<()> {
        anyhow::bail!("a queue cannot be rewound")
    }
}

/// The broker closes the channel of a consumer that holds messages for too long: one whose prefetch
/// is full, and one that takes them again meanwhile.
async fn consumer_timeout(server: Arc<Server>) -> anyhow::Result<()> {
    for orders in [40, 5] {
        let stage = Stage::<Queue>::new(&server).await?;
        stage.pause().await?;
        let sent = stage.send_of(&["Ann", "Bob", "Eve"], orders).await?;
        let (consumer, counts) = stage.consume_in_order(stage.broker.source());
        if orders < 31 {
            until("they come again", || counts.came() >= 2 * orders).await?;
        } else {
            until("as many are held as may be", || counts.came() == 31).await?;
            let connection =
                Connection::connect(server.address(), ConnectionProperties::default()).await?;
            let closed = async {
                while stage.broker.look(&connection, &stage.name).await?.1 > 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                anyhow::Ok(())
            };
            within(closed).await?;
        }
        stage.resume().await?;
        until("all are acked", || counts.acked() >= orders).await?;
        stage.stop(consumer).await;
        drain(&stage).await?;
        ensure!(
            stage.shop.all_starts() == orders as u64 && stage.shop.by_customer() == sent,
            "{:?}",
            stage.shop.by_customer()
        );
        stage.is_clean().await?;
    }
    Ok(())
}

/// Uses an existing queue with other arguments, with and without `as_it_is`.
async fn queue_of_another_kind(server: Arc<Server>) -> anyhow::Result<()> {
    let connection = Connection::connect(server.address(), ConnectionProperties::default()).await?;
    for is_said in [true, false] {
        let name = format!("orders-{:08x}", fastrand::u32(..));
        let durable = QueueDeclareOptions::durable();
        let channel = connection.create_channel().await?;
        channel
            .queue_declare(name.as_str().into(), durable, FieldTable::default())
            .await?;
        let queue = RabbitMq::queue(server.address(), &name);
        let queue = if is_said { queue.as_it_is() } else { queue };
        // The second connection uses it, too.
        for number in 0..2 {
            let mut session = queue.connect(1).await?;
            RabbitMqPublisher::new(server.address())
                .publish(Message::new(&name, [number]))
                .await?;
            let delivery = within(session.next(1)).await?;
            ensure!(delivery.payload() == [number], "{:?}", delivery.payload());
            delivery.ack().await?;
            session.close().await;
        }
    }
    let none =
        RabbitMq::queue(server.address(), format!("none-{:08x}", fastrand::u32(..))).as_it_is();
    ensure!(
        none.connect(1).await.is_err(),
        "a missing queue is not created"
    );
    connection.close(200, "done".into()).await?;
    Ok(())
}

/// Leaves a message in a delay queue, and waits until it is counted.
async fn delayed_messages(server: Arc<Server>) -> anyhow::Result<()> {
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    // No other test of this process looks at metrics.
    recorder.install()?;
    let name = format!("orders-{:08x}", fastrand::u32(..));
    let queue = RabbitMq::queue(server.address(), &name);
    let mut session = queue.connect(1).await?;
    RabbitMqPublisher::new(server.address())
        .publish(Message::new(&name, "later"))
        .await?;
    let delivery = within(session.next(1)).await?;
    delivery.retry(Duration::from_secs(3600)).await?;
    let source = queue.name();
    let delayed = || {
        let all = metrics.snapshot().into_vec().into_iter();
        let mut values = all.filter(|(key, ..)| {
            let mut labels = key.key().labels();
            key.key().name() == "idem_deliveries_delayed"
                && labels.any(|label| label.value() == source)
        });
        values.next().map(|(_, _, _, value)| value)
    };
    until("it is counted", || {
        delayed() == Some(DebugValue::Gauge(1.0.into()))
    })
    .await?;
    session.close().await;
    Ok(())
}

/// Creates a queue of this name and of another type.
async fn waiting_queue_that_takes_nothing(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Queue>::new(&server).await?;
    let connection = Connection::connect(server.address(), ConnectionProperties::default()).await?;
    let (channel, waiting) = (
        connection.create_channel().await?,
        format!("{}.again.100ms", stage.name),
    );
    channel
        .queue_delete(waiting.as_str().into(), QueueDeleteOptions::default())
        .await?;
    let durable = QueueDeclareOptions::durable();
    channel
        .queue_declare(waiting.as_str().into(), durable, FieldTable::default())
        .await?;

    for (number, fails) in [2, 99, 0].into_iter().enumerate() {
        stage
            .send(&PlaceOrder::new(format!("A-100{number}")).failing(fails))
            .await?;
    }
    let (consumer, counts) = stage.consume();
    until("all are acked", || counts.acked() == 3).await?;
    stage.stop(consumer).await;
    let starts = ["A-1000", "A-1001", "A-1002"].map(|order_no| stage.shop.starts(order_no));
    ensure!(starts == [3, 4, 1], "attempts: {starts:?}");
    ensure!(
        stage.idem.dead_letters().count_open().await? == 1,
        "one letter"
    );
    stage.is_clean().await
}

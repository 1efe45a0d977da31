//! The trait of a broker in the scenarios.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_brokers::{Consumer, Message, Publisher, Running, Source};
use idem_runtime::testing::Temporary;
use idem_test_support::servers::{Copied, Kind, Server};
use idem_test_support::{DEADLINE, within};
use tempfile::TempDir;

use crate::shop::{PlaceOrder, Shop, place};
use crate::watched::{Counts, watched};

/// One queue, stream or subject of a broker.
pub(crate) trait Broker: Send + Sync + 'static {
    const NAME: &'static str;
    const KIND: &'static Kind;
    /// Whether its messages can be read again from the beginning.
    const REWINDS: bool;
    /// Whether a consumer creates a missing queue.
    const MAKES: bool = true;
    /// Whether its messages survive SIGKILL.
    const OUTLIVES: bool = true;
    /// Whether a client keeps its own position, and asks the broker only when it starts.
    const CLIENT_KNOWS: bool = false;
    /// Whether it knows of deliveries to consumers that left.
    const REMEMBERS: bool = true;
    type Source: Source;
    type Publisher: Publisher;

    /// Names a queue at the address.
    fn new(address: &str, name: &str) -> Self;

    /// Creates the queue.
    fn declare(&self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Returns the source of one more consumer of the group.
    fn source(&self) -> Self::Source;

    /// Returns the source of a service that starts before the queue exists.
    fn first_source(&self) -> impl Future<Output = anyhow::Result<Self::Source>> + Send {
        async { Ok(self.source()) }
    }

    fn publisher(&self) -> Self::Publisher;

    /// Returns how many messages are neither acked nor held by a consumer: without consumers, all
    /// unacked ones.
    fn left(&self) -> impl Future<Output = anyhow::Result<u64>> + Send;

    /// Lets the next consumer start with the first message.
    fn rewind(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Copies the broker's state before the first ack.
    fn keep(&self, server: &Server) -> impl Future<Output = anyhow::Result<Option<Copied>>> + Send {
        async {
            server.kill()?;
            let kept = server.copy()?;
            server.restart().await?;
            Ok(Some(kept))
        }
    }

    /// Kills the broker, and restores the copied state.
    fn go_back(
        &self,
        server: &Server,
        kept: Option<Copied>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async move {
            server.kill()?;
            kept.iter().try_for_each(|kept| server.put_back(kept))?;
            server.restart().await
        }
    }
}

/// A broker, a shop, and a ledger between them.
pub(crate) struct Stage<B: Broker> {
    pub(crate) broker: B,
    pub(crate) name: String,
    pub(crate) publisher: B::Publisher,
    pub(crate) shop: Arc<Shop>,
    pub(crate) idem: Temporary,
    pub(crate) folder: TempDir,
}

impl<B: Broker> Stage<B> {
    pub(crate) async fn new(server: &Server) -> anyhow::Result<Self> {
        let name = format!("orders-{:08x}", fastrand::u32(..));
        let broker = B::new(server.address(), &name);
        within(broker.declare()).await?;
        let (publisher, folder) = (broker.publisher(), tempfile::tempdir()?);
        let (shop, idem) = (Shop::at(folder.path()), idem_runtime::testing::temporary()?);
        Ok(Self {
            broker,
            name,
            publisher,
            shop,
            idem,
            folder,
        })
    }

    /// Starts the usual consumer.
    pub(crate) fn consume(&self) -> (Running, Arc<Counts>) {
        self.consume_from(self.broker.source())
    }

    pub(crate) fn consume_from(&self, source: B::Source) -> (Running, Arc<Counts>) {
        let ((source, counts), shop) = (watched(source), Arc::clone(&self.shop));
        let consumer = Consumer::new(&self.idem, source).in_flight(16);
        (
            consumer.start(move |order: PlaceOrder| place(Arc::clone(&shop), order)),
            counts,
        )
    }

    pub(crate) async fn send(&self, order: &PlaceOrder) -> anyhow::Result<()> {
        self.publish(order.message(&self.name)).await
    }

    pub(crate) async fn publish(&self, message: Message) -> anyhow::Result<()> {
        publish(&self.publisher, message).await
    }

    /// Sends orders with these numbers.
    pub(crate) async fn send_all(&self, numbers: std::ops::Range<u32>) -> anyhow::Result<()> {
        for number in numbers {
            self.send(&PlaceOrder::new(format!("A-{number:04}")))
                .await?;
        }
        Ok(())
    }

    /// Stops a consumer gracefully.
    pub(crate) async fn stop(&self, consumer: Running) {
        within(consumer.stop(DEADLINE)).await;
    }

    /// Checks that no message is left, and no order was placed twice.
    pub(crate) async fn is_clean(&self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let left = within(self.broker.left()).await?;
            if left == 0 {
                break;
            }
            // A broker may take a moment to count the last acks.
            ensure!(
                tokio::time::Instant::now() < deadline,
                "{left} messages are not acked"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(!self.shop.placed_twice(), "an order was placed twice");
        Ok(())
    }
}

/// Publishes a message repeatedly until the broker confirms it.
pub(crate) async fn publish(publisher: &impl Publisher, message: Message) -> anyhow::Result<()> {
    let sent = within(async {
        while publisher.publish(message.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    sent.await;
    Ok(())
}

/// Waits until `reached` returns true; `what` names the condition in the error.
pub(crate) async fn until(what: &str, mut reached: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !reached() {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "timed out waiting until {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

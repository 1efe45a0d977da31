//! The scenarios on NATS JetStream.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::Subscriber;
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use idem_brokers::Consumer;
use idem_brokers::nats::{Nats, NatsPublisher};
use idem_test_support::servers::{Kind, NATS, Needs, Server};
use idem_test_support::within;
use libtest_mimic::Trial;
use tokio::sync::Semaphore;

use crate::broker::{Broker, Stage, until};
use crate::scenarios::{self, named};
use crate::shop::{PlaceOrder, place};
use crate::watched::watched;

/// Returns the scenarios and the tests of NATS alone.
pub(crate) fn all() -> Vec<Trial> {
    let mut tests = scenarios::all::<Subject>();
    tests.push(named::<Subject, _>(
        "requests_again_what_did_not_arrive",
        Needs::Any,
        requests_again_what_did_not_arrive,
    ));
    tests.push(named::<Subject, _>(
        "requests_no_more_than_it_may_hold",
        Needs::Any,
        requests_no_more_than_it_may_hold,
    ));
    tests
}

pub(crate) struct Subject {
    address: String,
    name: String,
    durable: &'static str,
}

impl Broker for Subject {
    const NAME: &'static str = "nats";
    const KIND: &'static Kind = &NATS;
    const REWINDS: bool = true;
    type Source = Nats;
    type Publisher = NatsPublisher;

    fn new(address: &str, name: &str) -> Self {
        Self {
            address: address.to_owned(),
            name: name.to_owned(),
            durable: "shop",
        }
    }

    async fn declare(&self) -> anyhow::Result<()> {
        let context = jetstream::new(async_nats::connect(&self.address).await?);
        let subjects = vec![self.name.clone()];
        context
            .create_stream(stream::Config {
                name: self.name.clone(),
                subjects,
                ..Default::default()
            })
            .await?;
        Ok(())
    }

    fn source(&self) -> Nats {
        Nats::stream(&self.address, &self.name)
            .durable(self.durable)
            .ack_wait(Duration::from_secs(2))
    }

    async fn first_source(&self) -> anyhow::Result<Nats> {
        Ok(self.source().or_make([self.name.as_str()]))
    }

    fn publisher(&self) -> NatsPublisher {
        NatsPublisher::new(&self.address)
    }

    async fn left(&self) -> anyhow::Result<u64> {
        let context = jetstream::new(async_nats::connect(&self.address).await?);
        let stream = context.get_stream(&self.name).await?;
        let info = stream.consumer_info(self.durable).await?;
        Ok(info.num_pending + info.num_ack_pending as u64)
    }

    /// A new consumer starts with the first message.
    async fn rewind(&mut self) -> anyhow::Result<()> {
        self.durable = "shop-again";
        Ok(())
    }
}

/// Returns how many messages the next request to the server is for.
async fn asked(requests: &mut Subscriber) -> anyhow::Result<u64> {
    let request = within(requests.next())
        .await
        .context("the server gets no more requests")?;
    let request: serde_json::Value = serde_json::from_slice(&request.payload)?;
    request["batch"]
        .as_u64()
        .context("a request without a batch")
}

/// The server drops a request after a while, and later messages still have to arrive.
async fn requests_again_what_did_not_arrive(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Subject>::new(&server).await?;
    let client = async_nats::connect(server.address()).await?;
    let mut requests = client
        .subscribe(format!("$JS.API.CONSUMER.MSG.NEXT.{}.>", stage.name))
        .await?;
    client.flush().await?;
    // 16 in flight, 31 at a time.
    let (consumer, counts) = stage.consume();
    ensure!(asked(&mut requests).await? == 31);
    ensure!(
        asked(&mut requests).await? == 31,
        "all messages are requested again"
    );
    stage.send_all(0..40).await?;
    until("all are acked", || counts.acked() == 40).await?;
    stage.stop(consumer).await;
    stage.is_clean().await
}

async fn requests_no_more_than_it_may_hold(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Subject>::new(&server).await?;
    let ((source, counts), shop) = (watched(stage.broker.source()), Arc::clone(&stage.shop));
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    let consumer = Consumer::new(&stage.idem, source)
        .in_flight(4)
        .prefetch(6)
        .start(move |order: PlaceOrder| {
            let (gate, shop) = (Arc::clone(&gate), Arc::clone(&shop));
            async move {
                gate.acquire().await.unwrap().forget();
                place(shop, order).await
            }
        });
    let context = jetstream::new(async_nats::connect(server.address()).await?);
    // Four of the six requested messages are done, so more are requested while two are still to
    // come.
    stage.send_all(0..4).await?;
    open.add_permits(4);
    until("four are acked", || counts.acked() == 4).await?;
    stage.send_all(4..40).await?;
    for done in 4..40 {
        // As many as are left, up to six.
        until("as many as it may hold arrive", || {
            counts.came() == (done + 6).min(40)
        })
        .await?;
        let info = context
            .get_stream(&stage.name)
            .await?
            .consumer_info(stage.broker.durable)
            .await?;
        ensure!(
            info.num_ack_pending <= 6,
            "{} with {done} done",
            info.num_ack_pending
        );
        open.add_permits(1);
        until("one more is acked", || counts.acked() == done + 1).await?;
    }
    stage.stop(consumer).await;
    stage.is_clean().await
}

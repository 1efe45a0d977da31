//! NATS JetStream in the scenarios.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use idem_brokers::nats::{JetStream, Nats};
use idem_test_support::servers::{Kind, NATS};

use crate::broker::Broker;

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
    type Publisher = JetStream;

    fn new(address: &str, name: &str) -> Self {
        Self { address: address.to_owned(), name: name.to_owned(), durable: "shop" }
    }

    async fn declare(&self) -> anyhow::Result<()> {
        let context = jetstream::new(async_nats::connect(&self.address).await?);
        let subjects = vec![self.name.clone()];
        context.create_stream(stream::Config { name: self.name.clone(), subjects, ..Default::default() }).await?;
        Ok(())
    }

    fn source(&self) -> Nats {
        Nats::stream(&self.address, &self.name).durable(self.durable).ack_wait(Duration::from_secs(2))
    }

    fn publisher(&self) -> JetStream {
        JetStream::at(&self.address)
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

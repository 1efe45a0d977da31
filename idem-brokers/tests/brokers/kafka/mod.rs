//! The scenarios on Kafka: librdkafka's mock cluster in every run, and a real broker on request.

mod groups;
mod pauses;

use std::time::Duration;

use anyhow::ensure;
use idem_brokers::kafka::{Kafka, KafkaPublisher};
use idem_test_support::servers::{Copied, KAFKA, Kind, MOCK_KAFKA, Needs, Server};
use libtest_mimic::Trial;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::broker::Broker;
use crate::scenarios::{self, named};

const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(10);

/// One topic of librdkafka's mock.
pub(crate) type Mock = Topic<false>;
/// One topic of a real broker.
pub(crate) type Real = Topic<true>;

pub(crate) fn all() -> Vec<Trial> {
    [of::<false>(), of::<true>()]
        .into_iter()
        .flatten()
        .collect()
}

/// Returns the scenarios and the tests of Kafka alone.
fn of<const REAL: bool>() -> Vec<Trial> {
    let mut tests = scenarios::all::<Topic<REAL>>();
    tests.extend([
        named::<Topic<REAL>, _>(
            "rebalance_gives_back_what_runs",
            Needs::Any,
            groups::rebalance::<REAL>,
        ),
        named::<Topic<REAL>, _>(
            "cooperative_rebalance_keeps_the_rest",
            Needs::Any,
            groups::cooperative::<REAL>,
        ),
        named::<Topic<REAL>, _>(
            "slow_handlers_keep_their_partitions",
            Needs::Any,
            groups::slow_handlers::<REAL>,
        ),
        named::<Topic<REAL>, _>(
            "pause_longer_than_the_poll_interval",
            Needs::Any,
            pauses::longer_than_the_poll_interval::<REAL>,
        ),
        named::<Topic<REAL>, _>(
            "rebalance_in_a_pause",
            Needs::Any,
            pauses::rebalance::<REAL>,
        ),
        named::<Topic<REAL>, _>(
            "unfinished_holds_the_offset",
            Needs::Any,
            groups::unfinished::<REAL>,
        ),
        named::<Topic<REAL>, _>(
            "key_stays_with_its_message",
            Needs::Any,
            groups::key::<REAL>,
        ),
        named::<Topic<REAL>, _>("no_such_topic", Needs::Any, groups::no_such_topic::<REAL>),
    ]);
    tests
}

#[derive(Clone)]
pub(crate) struct Topic<const REAL: bool> {
    address: String,
    name: String,
}

impl<const REAL: bool> Topic<REAL> {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.address)
            .set("reconnect.backoff.max.ms", "500");
        config
    }

    fn group(&self) -> String {
        format!("shop-{}", self.name)
    }

    /// Calls a client of the group, which blocks.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&BaseConsumer, TopicPartitionList) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut config = self.config();
        config
            .set("group.id", self.group())
            .set("session.timeout.ms", "3000")
            .set("heartbeat.interval.ms", "300");
        config.set("enable.auto.commit", "false");
        let mut all = TopicPartitionList::new();
        all.add_partition_range(&self.name, 0, PARTITIONS - 1);
        tokio::task::spawn_blocking(move || ask(&config.create()?, all)).await?
    }

    /// Resets the group to the beginning. Its members start there after the rebalance that this
    /// client's end causes.
    async fn put_back(&self) -> anyhow::Result<()> {
        let topic = self.name.clone();
        let put_back = self.ask(move |consumer, mut all| {
            consumer.subscribe(&[&topic])?;
            while consumer.assignment()?.count() == 0 {
                // There is no event to wait for. The caller's timeout ends the loop.
                let _ = consumer.poll(Duration::from_millis(100));
            }
            all.set_all_offsets(Offset::Offset(0))?;
            Ok(consumer.commit(&all, CommitMode::Sync)?)
        });
        put_back.await
    }
}

impl<const REAL: bool> Broker for Topic<REAL> {
    const NAME: &'static str = if REAL { "kafka_real" } else { "kafka" };
    const KIND: &'static Kind = if REAL { &KAFKA } else { &MOCK_KAFKA };
    const REWINDS: bool = true;
    /// Kafka counts no deliveries.
    const REMEMBERS: bool = false;
    // The real broker is in memory.
    const OUTLIVES: bool = !REAL;
    type Source = Kafka;
    type Publisher = KafkaPublisher;

    fn new(address: &str, name: &str) -> Self {
        Self {
            address: address.to_owned(),
            name: name.to_owned(),
        }
    }

    async fn declare(&self) -> anyhow::Result<()> {
        if REAL {
            let admin: AdminClient<DefaultClientContext> = self.config().create()?;
            let topic = NewTopic::new(&self.name, PARTITIONS, TopicReplication::Fixed(1));
            let made = admin.create_topics([&topic], &AdminOptions::new()).await?;
            made.into_iter()
                .try_for_each(|one| one.map(drop))
                .map_err(|(name, error)| anyhow::anyhow!("{name}: {error}"))?;
            return Ok(());
        }
        // The mock does not know the request, and creates topics that are asked for.
        let (mut config, name) = (self.config(), self.name.clone());
        config.set("allow.auto.create.topics", "true");
        let made = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = config.create()?;
            let known = client.fetch_metadata(Some(&name), PATIENCE)?;
            anyhow::Ok(
                known
                    .topics()
                    .iter()
                    .map(|topic| topic.partitions().len())
                    .sum::<usize>(),
            )
        });
        let partitions = made.await??;
        ensure!(partitions == PARTITIONS as usize, "{partitions} partitions");
        Ok(())
    }

    fn source(&self) -> Kafka {
        let kafka = Kafka::topic(&self.address, &self.name).group(self.group());
        kafka
            .set("session.timeout.ms", "3000")
            .set("heartbeat.interval.ms", "300")
            .set("reconnect.backoff.max.ms", "500")
    }

    async fn first_source(&self) -> anyhow::Result<Kafka> {
        if REAL {
            return Ok(self.source().or_make(PARTITIONS, 1));
        }
        self.declare().await?;
        Ok(self.source())
    }

    fn publisher(&self) -> KafkaPublisher {
        KafkaPublisher::new(&self.address).set("reconnect.backoff.max.ms", "500")
    }

    async fn left(&self) -> anyhow::Result<u64> {
        let name = self.name.clone();
        let left = self.ask(move |consumer, all| {
            let committed = consumer.committed_offsets(all, PATIENCE)?.to_topic_map();
            let left = (0..PARTITIONS).map(|partition| {
                let (low, high) = consumer.fetch_watermarks(&name, partition, PATIENCE)?;
                let committed = match committed.get(&(name.clone(), partition)) {
                    Some(Offset::Offset(offset)) => *offset,
                    _ => low,
                };
                anyhow::Ok(high.abs_diff(committed))
            });
            left.sum()
        });
        left.await
    }

    async fn rewind(&mut self) -> anyhow::Result<()> {
        self.put_back().await
    }

    async fn keep(&self, _: &Server) -> anyhow::Result<Option<Copied>> {
        // Its state before the first ack is the beginning.
        Ok(None)
    }

    async fn go_back(&self, server: &Server, _: Option<Copied>) -> anyhow::Result<()> {
        server.kill()?;
        server.restart().await?;
        self.put_back().await
    }
}

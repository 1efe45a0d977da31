//! The scenarios on RocketMQ.

use std::time::Duration;

use anyhow::Context;
use idem_rocketmq::{RocketMq, RocketMqPublisher};
use idem_test_support::servers::{Kind, ROCKETMQ};
use serde_json::json;

use crate::broker::Broker;
use crate::remoting::{BROKERS, MAKE_TOPIC, MAX_OFFSET, OUT_OF_PAUSES, PROGRESS, ask, numbers};

const QUEUES: u32 = 4;

pub(crate) struct Topic {
    name_server: String,
    name: String,
    group: String,
}

impl Topic {
    async fn broker(&self) -> anyhow::Result<String> {
        let (_, body) = ask(&self.name_server, BROKERS, json!({})).await?;
        let addresses = body
            .split("\"brokerAddrs\":{")
            .nth(1)
            .context("the name server knows no broker")?;
        addresses
            .split('"')
            .find(|part| part.contains('.'))
            .map(str::to_owned)
            .context("a broker without an address")
    }

    async fn make(&self, broker: &str, topic: &str) -> anyhow::Result<()> {
        let queues = QUEUES.to_string();
        let fields = json!({
            "topic": topic, "defaultTopic": "TBW102", "readQueueNums": queues, "writeQueueNums": queues, "perm": "6",
            "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
        });
        ask(broker, MAKE_TOPIC, fields).await.map(drop)
    }

    /// Returns how many messages of a topic the group has not acked.
    async fn behind(&self, broker: &str, topic: &str) -> anyhow::Result<i64> {
        let (_, body) = ask(
            broker,
            PROGRESS,
            json!({ "consumerGroup": self.group, "topic": topic }),
        )
        .await?;
        let acked: i64 = numbers(&body, "consumerOffset")
            .into_iter()
            .map(|offset| offset.max(0))
            .sum();
        Ok(numbers(&body, "brokerOffset").into_iter().sum::<i64>() - acked)
    }

    /// Waits until all messages that are in a pause now are in the group's retry topic.
    async fn no_pause_is_left(&self, broker: &str) -> anyhow::Result<()> {
        let first = json!({ "topic": "SCHEDULE_TOPIC_XXXX", "queueId": "0" });
        let (in_pauses, _) = ask(broker, MAX_OFFSET, first).await?;
        let in_pauses: u64 = in_pauses["offset"].as_str().context("no offset")?.parse()?;
        loop {
            let (_, body) = ask(broker, OUT_OF_PAUSES, json!({})).await?;
            // The offset of the first level, the only one of the tests' broker.
            let table = body
                .split("\"offsetTable\":{")
                .nth(1)
                .context("no offsets")?
                .replace('"', "");
            let out = table
                .strip_prefix("1:")
                .and_then(|rest| rest.split([',', '}']).next()?.parse().ok());
            if out.unwrap_or(0) >= in_pauses {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Broker for Topic {
    const NAME: &'static str = "rocketmq";
    const KIND: &'static Kind = &ROCKETMQ;
    const REWINDS: bool = true;
    const REMEMBERS: bool = false;
    const CLIENT_KNOWS: bool = true;
    /// Topics are created by the operator.
    const MAKES: bool = false;
    type Source = RocketMq;
    type Publisher = RocketMqPublisher;

    fn new(address: &str, name: &str) -> Self {
        let name_server = address.to_owned();
        // All of a group's consumers have to read the same topic.
        Self {
            name_server,
            name: name.to_owned(),
            group: format!("shop-{name}"),
        }
    }

    async fn declare(&self) -> anyhow::Result<()> {
        self.make(&self.broker().await?, &self.name).await
    }

    fn source(&self) -> RocketMq {
        RocketMq::topic(&self.name_server, &self.name)
            .group(&self.group)
            .delays([Duration::from_secs(1)])
    }

    fn publisher(&self) -> RocketMqPublisher {
        RocketMqPublisher::new(&self.name_server)
    }

    async fn left(&self) -> anyhow::Result<u64> {
        let broker = self.broker().await?;
        self.no_pause_is_left(&broker).await?;
        let again = format!("%RETRY%{}", self.group);
        let behind = self.behind(&broker, &self.name).await? + self.behind(&broker, &again).await?;
        Ok(u64::try_from(behind)?)
    }

    /// A new group starts with the first message.
    async fn rewind(&mut self) -> anyhow::Result<()> {
        self.group = format!("again-{}", self.name);
        Ok(())
    }
}

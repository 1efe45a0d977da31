//! The scenarios on Redis Streams.

use std::time::Duration;

use ::redis::streams::StreamInfoGroupsReply;
use ::redis::{AsyncConnectionConfig, AsyncTypedCommands, Client};
use idem_brokers::redis::{Redis, RedisPublisher};
use idem_test_support::DEADLINE;
use idem_test_support::servers::{Kind, REDIS};

use crate::broker::Broker;

pub(crate) struct Streams {
    address: String,
    name: String,
}

impl Streams {
    async fn connection(&self) -> anyhow::Result<::redis::aio::MultiplexedConnection> {
        // A second and half a second by default, in which a busy machine may not write to its disk.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        Ok(Client::open(self.address.as_str())?
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }
}

impl Broker for Streams {
    const NAME: &'static str = "redis";
    const KIND: &'static Kind = &REDIS;
    const REWINDS: bool = true;
    type Source = Redis;
    type Publisher = RedisPublisher;

    fn new(address: &str, name: &str) -> Self {
        Self {
            address: address.to_owned(),
            name: name.to_owned(),
        }
    }

    async fn declare(&self) -> anyhow::Result<()> {
        self.connection()
            .await?
            .xgroup_create_mkstream(&self.name, "shop", "0")
            .await?;
        Ok(())
    }

    fn source(&self) -> Redis {
        Redis::stream(&self.address, &self.name)
            .group("shop")
            .claim_after(Duration::from_secs(1))
    }

    fn publisher(&self) -> RedisPublisher {
        RedisPublisher::new(&self.address)
    }

    async fn left(&self) -> anyhow::Result<u64> {
        let groups: StreamInfoGroupsReply =
            self.connection().await?.xinfo_groups(&self.name).await?;
        let group = groups
            .groups
            .first()
            .ok_or_else(|| anyhow::anyhow!("no group"))?;
        // Redis does not know the lag after a `SETID` into the middle. These tests go to the
        // beginning.
        let lag = group.lag.ok_or_else(|| anyhow::anyhow!("no lag"))?;
        Ok((group.pending + lag) as u64)
    }

    async fn rewind(&mut self) -> anyhow::Result<()> {
        self.connection()
            .await?
            .xgroup_setid(&self.name, "shop", "0")
            .await?;
        Ok(())
    }
}

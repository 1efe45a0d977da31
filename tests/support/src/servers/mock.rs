//! librdkafka's mock cluster.

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

/// A cluster of one broker, on a port of the loopback.
pub(super) struct Mock {
    /// It lives in a client.
    client: BaseProducer,
}

impl Mock {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            client: ClientConfig::new()
                .set("test.mock.num.brokers", "1")
                .create()?,
        })
    }

    pub(super) fn address(&self) -> anyhow::Result<String> {
        Ok(self
            .client
            .client()
            .mock_cluster()
            .context("it has a cluster")?
            .bootstrap_servers())
    }

    /// Ends every connection and takes no other; what it has been told it keeps.
    pub(super) fn go_down(&self) -> anyhow::Result<()> {
        Ok(self
            .client
            .client()
            .mock_cluster()
            .context("it has a cluster")?
            .broker_down(-1)?)
    }

    pub(super) fn come_up(&self) -> anyhow::Result<()> {
        Ok(self
            .client
            .client()
            .mock_cluster()
            .context("it has a cluster")?
            .broker_up(-1)?)
    }
}

impl std::fmt::Debug for Mock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mock").finish_non_exhaustive()
    }
}

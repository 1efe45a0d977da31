//! The client's own threads.

use std::sync::Arc;
use std::time::Duration;

use idem_brokers::BrokerError;
use rocketmq_client_rust::{ClientConfig, ClientRuntime, ClientRuntimeConfig};
use rocketmq_observability::TelemetryHandle;
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::failed;

/// As many as the client's runtime takes, less those it needs itself.
pub(crate) const MOST_THREADS: usize = 500;
/// What the client does on threads of its own besides waiting for verdicts.
const OWN_THREADS: usize = 4;
/// A message may be under way for longer than any limit of the client's, whose limits would give it
/// to somebody else while its handler runs.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A runtime of RocketMQ's client, which ends when it is dropped.
pub(crate) struct Client {
    owner: RuntimeOwner,
    runtime: Arc<ClientRuntime>,
    handle: Handle,
}

impl Client {
    /// One that can wait for so many verdicts at a time.
    pub(crate) async fn start(waiting: usize) -> Result<Self, BrokerError> {
        // It asks for a thread that may block.
        let started = tokio::task::spawn_blocking(move || Self::on_this_thread(waiting));
        started.await.map_err(failed("start the client"))?
    }

    fn on_this_thread(waiting: usize) -> Result<Self, BrokerError> {
        // One thread: its messages come in the order in which its tasks take them.
        let mut config = RuntimeConfig::for_parallelism("idem-rocketmq", 1);
        let blocking = &mut config.blocking_lane_policies.metadata_io;
        blocking.max_concurrency = waiting + OWN_THREADS;
        blocking.max_queue_depth = waiting + OWN_THREADS;
        (
            blocking.queue_timeout,
            blocking.task_timeout,
            blocking.warn_after,
        ) = (NEVER, NEVER, NEVER);
        config.max_blocking_threads = waiting + 2 * OWN_THREADS;
        let owner = RuntimeOwner::plan(config).map_err(failed("plan the client's threads"))?;
        let owner = owner
            .build()
            .map_err(failed("start the client's threads"))?;
        let handle = owner.block_on(async { Handle::current() });
        let context = owner.root_context().component("client");
        let runtime = ClientRuntime::try_new(
            context,
            ClientRuntimeConfig::default(),
            TelemetryHandle::noop(),
        );
        let runtime = runtime.map_err(failed("start the client"))?;
        Ok(Self {
            owner,
            runtime,
            handle,
        })
    }

    pub(crate) fn runtime(&self) -> Arc<ClientRuntime> {
        Arc::clone(&self.runtime)
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Does something of the client's on its own threads, to its end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, BrokerError>> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.handle.spawn(work).await.map_err(failed(doing))?
    }

    /// Ends what is left of it.
    pub(crate) async fn close(self) {
        self.runtime.shutdown().await;
        self.owner.shutdown_tasks().await;
        self.owner.shutdown_background();
    }
}

/// Where the name servers are, and a name that no other client has: the broker tells the members of
/// a group by it.
pub(crate) fn config(name_server: &str) -> ClientConfig {
    let mut config = ClientConfig::default();
    config.set_namesrv_addr(name_server.into());
    config.set_instance_name(format!("idem-{}", Uuid::new_v4().simple()).into());
    config
}

//! The client, and its threads.

use std::sync::Arc;
use std::time::Duration;

use idem_brokers::BrokerError;
use rocketmq_client_rust::{ClientConfig, ClientRuntime, ClientRuntimeConfig};
use rocketmq_observability::TelemetryHandle;
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};
use tokio::runtime::Handle;
use uuid::Uuid;

/// The most messages that can wait for a verdict, which is what the client's runtime allows less
/// its own threads.
pub(crate) const MOST_THREADS: usize = 500;
/// The client's threads that do not wait for verdicts.
const OWN_THREADS: usize = 4;
/// Longer than any handler runs: the client's limits would redeliver a message in progress.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// RocketMQ's client with a runtime of its own, which ends when it is dropped.
pub(crate) struct Client {
    owner: RuntimeOwner,
    runtime: Arc<ClientRuntime>,
    handle: Handle,
}

impl Client {
    /// Starts a client that can wait for this many verdicts at a time.
    pub(crate) async fn start(waiting: usize) -> Result<Self, BrokerError> {
        // Starting blocks the thread.
        let started = tokio::task::spawn_blocking(move || Self::start_blocking(waiting));
        started.await.map_err(failed("start the client"))?
    }

    fn start_blocking(waiting: usize) -> Result<Self, BrokerError> {
        // With one thread, messages arrive in the order in which the tasks take them.
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

    /// Runs a future on the client's runtime to its end, even if this one is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, BrokerError>> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.handle.spawn(work).await.map_err(failed(doing))?
    }

    /// Stops the client and its runtime.
    pub(crate) async fn close(self) {
        self.runtime.shutdown().await;
        self.owner.shutdown_tasks().await;
        self.owner.shutdown_background();
    }
}

/// Returns a configuration with a unique instance name, by which the broker distinguishes the
/// members of a group.
pub(crate) fn config(name_server: &str) -> ClientConfig {
    let mut config = ClientConfig::default();
    config.set_namesrv_addr(name_server.into());
    config.set_instance_name(format!("idem-{}", Uuid::new_v4().simple()).into());
    config
}

pub(crate) fn failed<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> BrokerError {
    move |problem| BrokerError::new("rocketmq", doing, problem.to_string())
}

//! A ledger on a server whose clock a test moves.

use std::sync::atomic::{AtomicU64, Ordering};

use idem_redis::{Redis, RedisStore};
use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use idem_runtime::testing::{self, ManualClock, ServerClock, ServerTime};
use idem_test_support::servers::{Needs, REDIS, Server};
use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::OnceCell;

/// A ledger of a law's own on the server of all laws. Its time is the test's: it is set before each call.
#[derive(Debug, Clone)]
pub(crate) struct ClockedLedger {
    name: String,
    time: ServerTime,
}

pub(crate) type ClockedStore = testing::ClockedStore<RedisStore, Setter>;

async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let start = || async {
        let server = Server::start(&REDIS, Needs::Any).await.unwrap();
        // No law kills it, and there are many.
        let mut relaxing = redis::cmd("CONFIG");
        relaxing.arg("SET").arg("appendfsync").arg("no");
        let mut connection = connect_to(&server).await.unwrap();
        relaxing.query_async::<()>(&mut connection).await.unwrap();
        server
    };
    SERVER.get_or_init(start).await
}

pub(crate) async fn connect() -> Result<MultiplexedConnection, RedisError> {
    connect_to(server().await).await
}

async fn connect_to(server: &Server) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    Client::open(server.address())?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

impl ClockedLedger {
    pub(crate) fn empty(clock: ManualClock) -> Self {
        static LEDGERS: AtomicU64 = AtomicU64::new(0);
        Self {
            name: format!("law {}", LEDGERS.fetch_add(1, Ordering::Relaxed)),
            time: ServerTime::of(clock),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn store(&self) -> Result<ClockedStore, StoreError> {
        let setter = Setter {
            name: self.name.clone(),
            connection: connect().await.map_err(of_clock)?,
        };
        let settings = Redis::new(server().await.address()).name(&self.name);
        self.time.open(setter, settings.store()).await
    }
}

/// The connection that sets the clock of a ledger.
pub(crate) struct Setter {
    name: String,
    connection: MultiplexedConnection,
}

impl ServerClock for Setter {
    async fn set(&self, now: Timestamp) -> Result<(), StoreError> {
        redis::cmd("HSET")
            .arg(format!("{{{}}}m", self.name))
            .arg("clock")
            .arg(now.as_microsecond())
            .query_async::<()>(&mut self.connection.clone())
            .await
            .map_err(of_clock)
    }
}

fn of_clock(error: RedisError) -> StoreError {
    StoreError::new(StoreErrorKind::Away, "the test's clock").source(error)
}

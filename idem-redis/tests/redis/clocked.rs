//! A ledger on a server whose clock a test moves.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idem_redis::{Redis, RedisStore};
use idem_runtime::clock::Clock;
use idem_runtime::ledger::shared::{
    Rows, Runner, Store, StoreError, StoreErrorKind, Write, Written,
};
use idem_runtime::ledger::{ExpectedNote, Filter, Note, NoteChange};
use idem_runtime::protocol::{DeadLetter, DeadLetterId, RecordId};
use idem_runtime::testing::ManualClock;
use idem_test_support::servers::{Needs, REDIS, Server};
use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::{Mutex, OnceCell};

/// A ledger of a law's own on the server of all laws. Its time is the test's: it is set before each call.
#[derive(Debug, Clone)]
pub(crate) struct ClockedLedger {
    name: String,
    clock: ManualClock,
    /// What it was set to: of all stores, so that none sets it to an earlier time that it has seen.
    set: Arc<Mutex<Option<Timestamp>>>,
}

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
            clock,
            set: Arc::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn store(&self) -> Result<ClockedStore, StoreError> {
        let time = Time {
            ledger: self.clone(),
            setter: connect().await.map_err(of_clock)?,
        };
        time.set().await?;
        let settings = Redis::new(server().await.address()).name(&self.name);
        Ok(ClockedStore {
            store: settings.store().await?,
            time,
        })
    }
}

struct Time {
    ledger: ClockedLedger,
    setter: MultiplexedConnection,
}

impl Time {
    async fn set(&self) -> Result<(), StoreError> {
        let (mut set, now) = (self.ledger.set.lock().await, self.ledger.clock.now());
        if *set != Some(now) {
            redis::cmd("HSET")
                .arg(format!("{{{}}}m", self.ledger.name))
                .arg("clock")
                .arg(now.as_microsecond())
                .query_async::<()>(&mut self.setter.clone())
                .await
                .map_err(of_clock)?;
            *set = Some(now);
        }
        Ok(())
    }
}

fn of_clock(error: RedisError) -> StoreError {
    StoreError::new(StoreErrorKind::Away, "the test's clock").source(error)
}

pub(crate) struct ClockedStore {
    store: RedisStore,
    time: Time,
}

impl Store for ClockedStore {
    type Transaction = Infallible;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        self.time.set().await?;
        self.store.read(ids).await
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        self.time.set().await?;
        self.store.write(runner, writes).await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.time.set().await?;
        self.store.reserve(count).await
    }

    async fn beat(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        self.time.set().await?;
        self.store.beat(runner, lease, oldest).await
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        self.time.set().await?;
        self.store.retire(runner, until).await
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        self.time.set().await?;
        self.store.due(limit).await
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, StoreError> {
        self.time.set().await?;
        self.store.remove_due(limit).await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.time.set().await?;
        self.store.letter(id).await
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        self.time.set().await?;
        self.store.letters(filter).await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        self.time.set().await?;
        self.store.open_letters().await
    }

    async fn remove_letters(&self, until: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.time.set().await?;
        self.store.remove_letters(until, limit).await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        self.time.set().await?;
        self.store.notes(prefix, after, limit).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        self.time.set().await?;
        self.store.write_notes(changes, expected).await
    }

    fn watch(&self, id: &RecordId) {
        self.store.watch(id);
    }

    async fn changed(&self) -> Vec<RecordId> {
        self.store.changed().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

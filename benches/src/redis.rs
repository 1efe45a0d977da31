//! A Redis, and the least that its clients can do: a bare script a write, on a connection a caller.

use std::ops::Range;
use std::sync::Arc;

use idem_redis::Redis;
use idem_runtime::{Error, Idem};
use idem_test_support::servers::{Needs, REDIS, Server};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, FromRedisValue, IntoConnectionInfo, RedisResult};

use crate::orders::{Order, PlaceOrder, delivery, placed, rate};

const CLAIM: &str = "
    local found = redis.call('GET', KEYS[1])
    if not found then redis.call('SET', KEYS[1], ARGV[1]) end
    return found";
const COMPLETE: &str = "redis.call('SET', KEYS[1], ARGV[1])";

/// A server of the bench's own.
pub struct Data(Server);

impl Data {
    /// Starts an empty one.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Ok(Self(Server::start(&REDIS, Needs::Any).await?))
    }

    /// Returns its URL for clients.
    pub fn url(&self) -> &str {
        self.0.address()
    }

    /// Sends a command, written as in a shell without quotes.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn tell<T: FromRedisValue>(&self, command: &str) -> RedisResult<T> {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap_or_default());
        asked.arg(words.collect::<Vec<_>>());
        asked.query_async(&mut connect(self.url()).await?).await
    }

    /// Returns how many bytes its data takes.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn used_memory(&self) -> RedisResult<f64> {
        let info: String = self.tell("INFO memory").await?;
        let mut lines = info.lines();
        let used = lines.find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.and_then(|used| used.parse().ok()).unwrap_or(f64::NAN))
    }

    /// Returns how many bytes a row of the ledger with this name takes.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn row(&self, name: &str) -> RedisResult<f64> {
        let mut connection = connect(self.url()).await?;
        let mut scan = redis::cmd("SCAN");
        scan.arg(0).arg("MATCH").arg(format!("{{{name}}}r:*"));
        scan.arg("COUNT").arg(1_000_000);
        let (_, rows): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await?;
        let mut usage = redis::cmd("MEMORY");
        usage.arg("USAGE").arg(rows.first());
        usage.query_async(&mut connection).await
    }
}

async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let tcp = TcpSettings::default().set_nodelay(true);
    let info = url.into_connection_info()?.set_tcp_settings(tcp);
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    Client::open(info)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Opens idem on the ledger with this name.
///
/// # Errors
/// If the server does not answer.
pub async fn open(url: &str, name: &str) -> Result<Idem, Error> {
    Idem::builder()
        .open_with(Redis::new(url).name(name).ledger())
        .await
}

/// Connections, one a caller.
#[derive(Clone)]
pub struct Bare {
    connections: Arc<Mutex<Vec<MultiplexedConnection>>>,
    /// The hashes of the scripts that claim and complete.
    hashes: [String; 2],
}

#[expect(
    clippy::expect_used,
    reason = "a bench that cannot write measures nothing"
)]
impl Bare {
    /// Connects so often.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn connect(url: &str, callers: usize) -> RedisResult<Self> {
        let mut loading = redis::pipe();
        for script in [CLAIM, COMPLETE] {
            loading.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        let hashes = loading.query_async(&mut connect(url).await?).await?;
        let mut connections = Vec::new();
        for _ in 0..callers {
            connections.push(connect(url).await?);
        }
        Ok(Self {
            connections: Arc::new(Mutex::new(connections)),
            hashes,
        })
    }

    async fn rate<F>(
        &self,
        numbers: Range<u64>,
        callers: usize,
        work: impl Fn(MultiplexedConnection, PlaceOrder) -> F + Clone + Send + 'static,
    ) -> f64
    where
        F: Future<Output = RedisResult<MultiplexedConnection>> + Send,
    {
        rate(numbers, callers, |number| {
            let (connections, work) = (Arc::clone(&self.connections), work.clone());
            async move {
                let connection = connections.lock().pop().expect("one a caller");
                let worked = work(connection, delivery(number)).await;
                connections.lock().push(worked.expect("the server works"));
            }
        })
        .await
    }

    /// Claims each of these orders, and completes it. Returns how many a second.
    pub async fn claim_and_complete(&self, numbers: Range<u64>, callers: usize) -> f64 {
        let hashes = self.hashes.clone();
        self.rate(numbers, callers, move |mut connection, order| {
            let run = |hash: &str, order_no: &str, value: Vec<u8>| {
                let mut script = redis::cmd("EVALSHA");
                script.arg(hash).arg(1).arg(order_no).arg(value);
                script
            };
            let given = serde_json::to_vec(&order).expect("it is JSON");
            let claim = run(&hashes[0], &order.order_no, given);
            let order_no = order.order_no.clone();
            let result = serde_json::to_vec(&placed(order)).expect("it is JSON");
            let complete = run(&hashes[1], &order_no, result);
            async move {
                let found: Option<Vec<u8>> = claim.query_async(&mut connection).await?;
                assert!(found.is_none(), "it was claimed before");
                let () = complete.query_async(&mut connection).await?;
                Ok(connection)
            }
        })
        .await
    }

    /// Reads the result of each of these orders. Returns how many a second.
    pub async fn read(&self, numbers: Range<u64>, callers: usize) -> f64 {
        self.rate(numbers, callers, async |mut connection, order| {
            let mut read = redis::cmd("GET");
            read.arg(order.order_no);
            let value: Vec<u8> = read.query_async(&mut connection).await?;
            let order: Order = serde_json::from_slice(&value).expect("it is JSON");
            assert!(order.qty > 0);
            Ok(connection)
        })
        .await
    }
}

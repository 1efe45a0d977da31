//! Redis Streams: consumer groups, entries of dead consumers claimed, pauses kept in the group's
//! own list of pending entries.

mod consume;
mod publish;

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, RedisError};
pub use consume::{Entry, Reader};
pub use publish::Streams;

use crate::address::Address;
use crate::delivery::Source;
use crate::error::BrokerError;

/// The field of an entry that is the message.
const PAYLOAD: &str = "payload";
/// The field with the id its publisher gave it.
const ID: &str = "id";
/// How long Redis has for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A stream, read by a consumer group.
///
/// The message is the entry's field `payload`, or all fields as a JSON object where there is none;
/// a field `id` is its id, and the others are its headers. A group that is not there is made, from
/// the stream's beginning.
///
/// ```no_run
/// # async fn place(order: String) -> Result<(), idem_runtime::Error> { Ok(()) }
/// # fn run(idem: idem_runtime::Idem) {
/// use idem_brokers::Consumer;
/// use idem_brokers::redis::Redis;
///
/// let orders = Redis::stream("redis://127.0.0.1", "orders").group("shop");
/// let consumer = Consumer::new(&idem, orders).start(place);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to a `Consumer`"]
pub struct Redis {
    url: Address,
    stream: String,
    group: String,
    claim_after: Duration,
    delete: bool,
}

impl Redis {
    /// A stream of the server at a `redis://` or `rediss://` address, and the group `idem`.
    pub fn stream(url: impl Into<String>, stream: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            stream: stream.into(),
            group: "idem".to_owned(),
            claim_after: Duration::from_secs(30),
            delete: false,
        }
    }

    /// The consumer group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// How long a message may be without a sign of life from its consumer before another one takes
    /// it; 30 seconds by default. A consumer gives a sign every third of it while a handler runs.
    pub fn claim_after(mut self, idle: Duration) -> Self {
        self.claim_after = idle.max(Duration::from_millis(10));
        self
    }

    /// Takes messages out of the stream when they are acked. For a stream with this one group only:
    /// others lose them.
    pub fn delete_acked(mut self) -> Self {
        self.delete = true;
        self
    }
}

impl Source for Redis {
    type Session = Reader;

    fn name(&self) -> String {
        format!("redis:{}", self.stream)
    }

    async fn connect(&self, _prefetch: usize) -> Result<Reader, BrokerError> {
        Reader::open(self.clone()).await
    }
}

/// A connection whose answers may take this long.
async fn connect(url: &Address, answer: Duration) -> Result<MultiplexedConnection, BrokerError> {
    // rustls takes the process's own choice, where it made one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let connect = failed("connect");
    let client = Client::open(url.expose()).map_err(&connect)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER))
        .set_response_timeout(Some(answer));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(&connect)
}

fn failed(doing: &'static str) -> impl Fn(RedisError) -> BrokerError {
    move |problem| BrokerError::new("redis", doing, problem)
}

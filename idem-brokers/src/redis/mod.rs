//! Redis Streams: consumer groups, with pauses kept in the group's list of pending entries.
//!
//! - The message is the entry's field `payload`, or all fields as a JSON object if there is none.
//!   The field `id` is its id, and the others are its headers.
//! - A group that does not exist is created, and starts with the stream's first entry.
//! - The entries of a consumer that died are claimed after `claim_after`. A consumer reports an
//!   entry in progress every third of it.
//! - Unless Redis writes each change to its disk (`appendfsync always`), it may forget messages
//!   that it accepted. A consumer cannot repair that.

mod connection;
mod consume;
mod member;
mod publish;

use std::sync::Arc;
use std::time::Duration;

pub use consume::{Delivery, Session};
pub use publish::RedisPublisher;

use crate::address::Address;
use crate::delivery::Source;
use crate::error::BrokerError;
use crate::publish::Publisher;

/// A stream, read by a consumer group.
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
    /// Names a stream of the server at a `redis://` or `rediss://` address, and the group `idem`.
    pub fn stream(url: impl Into<String>, stream: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            stream: stream.into(),
            group: "idem".to_owned(),
            claim_after: Duration::from_secs(30),
            delete: false,
        }
    }

    /// Sets the consumer group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// Sets after how long without a sign of life another consumer claims a message, 30 seconds by
    /// default and at least 10 milliseconds.
    pub fn claim_after(mut self, idle: Duration) -> Self {
        self.claim_after = idle.max(Duration::from_millis(10));
        self
    }

    /// Deletes acked messages from the stream. Other groups of the stream would lose them.
    pub fn delete_acked(mut self) -> Self {
        self.delete = true;
        self
    }
}

impl Source for Redis {
    type Session = Session;

    fn name(&self) -> String {
        format!("redis:{}", self.stream)
    }

    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        Some(Arc::new(RedisPublisher::new(self.url.expose())))
    }

    async fn connect(&self, _prefetch: usize) -> Result<Session, BrokerError> {
        Session::open(self.clone()).await
    }
}

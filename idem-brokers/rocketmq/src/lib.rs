//! RocketMQ for [`idem_brokers`]: a consumer that acks only what is durable, and a publisher that
//! waits for the broker's confirmation.
//!
//! It is a crate of its own because RocketMQ's client has some 120 dependencies that the other
//! brokers do not need.
//!
//! - The idempotency key is a field of the message, such as the order's number, and never the
//!   message id: in RocketMQ, ["there may be cases where the same message has two different
//!   msgIds"][idempotent], for instance after a producer's retry. [`Message::id`] is the message's
//!   `KEYS`, which RocketMQ [recommends][keys] for the business's own id.
//! - The topic has to exist. A new group starts with the topic's first message.
//! - The group's attempts are counted in idem's ledger and unlimited in the broker, so no message
//!   goes to a `%DLQ%` topic.
//! - The message of a failed attempt waits in the broker for the next of its delay levels (1 s,
//!   5 s, 10 s, and so on; see [`RocketMq::delays`]).
//! - The client needs a thread for each message in progress, so at most 500 can be in flight. After
//!   a lost connection it may take 37 s, its heartbeat, to continue.
//!
//! [`Message::id`]: idem_brokers::Message::id
//! [idempotent]: https://rocketmq.apache.org/docs/bestPractice/01bestpractice/#the-consumption-process-is-idempotent
//! [keys]: https://rocketmq.apache.org/docs/bestPractice/01bestpractice/#the-use-of-keys

mod connection;
mod consume;
mod delay;
mod listener;
mod publish;

use std::sync::Arc;
use std::time::Duration;

pub use consume::{Delivery, Session};
pub use delay::DELAYS;
pub use publish::RocketMqPublisher;

use idem_brokers::{BrokerError, Publisher, Source};

/// A topic, read by a consumer group.
///
/// ```no_run
/// # async fn place(order: String) -> Result<(), idem_runtime::Error> { Ok(()) }
/// # fn run(idem: idem_runtime::Idem) {
/// use idem_brokers::Consumer;
/// use idem_rocketmq::RocketMq;
///
/// let orders = RocketMq::topic("127.0.0.1:9876", "orders").group("shop");
/// let consumer = Consumer::new(&idem, orders).start(place);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to a `Consumer`"]
pub struct RocketMq {
    name_server: String,
    topic: String,
    group: String,
    tags: String,
    delays: Vec<Duration>,
}

impl RocketMq {
    /// Names a topic that the name servers at these addresses (`host:port`, separated by `;`) know,
    /// and the group `idem`.
    pub fn topic(name_server: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            name_server: name_server.into(),
            topic: topic.into(),
            group: "idem".to_owned(),
            tags: "*".to_owned(),
            delays: DELAYS.to_vec(),
        }
    }

    /// Sets the consumer group. RocketMQ requires all consumers of a group to read the same topic
    /// and tags.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = name.into();
        self
    }

    /// Filters messages by tags, as in `TagA || TagB`.
    pub fn tags(mut self, tags: impl Into<String>) -> Self {
        self.tags = tags.into();
        self
    }

    /// Sets the pauses of the broker's delay levels, if its `messageDelayLevel` is not the default,
    /// [`DELAYS`].
    pub fn delays(mut self, delays: impl Into<Vec<Duration>>) -> Self {
        self.delays = delays.into();
        self
    }
}

impl Source for RocketMq {
    type Session = Session;

    fn name(&self) -> String {
        format!("rocketmq:{}", self.topic)
    }

    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        Some(Arc::new(RocketMqPublisher::new(&self.name_server)))
    }

    async fn connect(&self, prefetch: usize) -> Result<Session, BrokerError> {
        Session::open(self, prefetch).await
    }
}

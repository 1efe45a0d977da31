//! RocketMQ in front of idem: a consumer that acks only what is durable, and a publisher that waits
//! for the broker's word.
//!
//! A package of its own, because RocketMQ's client brings some 120 crates with it, aws-lc among
//! them, which no other broker of [`idem_brokers`] needs.
//!
//! **The key is never the message id.** A client gives each message that it sends an id of its own,
//! so, as RocketMQ's documents say, ["there may be cases where the same message has two different
//! msgIds"][idempotent]: one that was sent again, for instance. They want a field of the business
//! for that. So a handler's `key` is a field of the message, the order's number; the same is its
//! `KEYS` on the wire ([`Message::id`](idem_brokers::Message::id)), as they [want it][keys] too.
//! The message id helps people to find the message: it stands beside its position in the message's
//! [`Origin`](idem_runtime::Origin).
//!
//! [idempotent]: https://rocketmq.apache.org/docs/bestPractice/01bestpractice/#the-consumption-process-is-idempotent
//! [keys]: https://rocketmq.apache.org/docs/bestPractice/01bestpractice/#the-use-of-keys

mod client;
mod consume;
mod delay;
mod listen;
mod publish;

use std::time::Duration;

pub use consume::{Handed, Pushed};
pub use delay::DELAYS;
pub use publish::Topics;

use idem_brokers::{BrokerError, Source};

/// A topic, read by one more consumer of a group.
///
/// A group that is new begins with the topic's first message. The topic has to be there. The group
/// shares its attempts in idem's ledger, and is never at its end for the broker, so nothing goes to
/// `%DLQ%` topics.
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
///
/// What comes again waits in the broker, whose pauses have levels: it is away for as long as was
/// asked, up to the next level. The client gives each message under way a thread of its own, so at
/// most 500 can be in flight.
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
    /// A topic, found by name servers at `host:port`, several with `;` between, and the group
    /// `idem`.
    pub fn topic(name_server: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            name_server: name_server.into(),
            topic: topic.into(),
            group: "idem".to_owned(),
            tags: "*".to_owned(),
            delays: DELAYS.to_vec(),
        }
    }

    /// The group's name. All of a group's consumers have to read the same topic and tags: RocketMQ
    /// wants it so.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = name.into();
        self
    }

    /// Only messages with one of these tags, `TagA || TagB`.
    pub fn tags(mut self, tags: impl Into<String>) -> Self {
        self.tags = tags.into();
        self
    }

    /// The pauses of the broker's levels, where its `messageDelayLevel` is not the usual one.
    pub fn delays(mut self, delays: impl Into<Vec<Duration>>) -> Self {
        self.delays = delays.into();
        self
    }
}

impl Source for RocketMq {
    type Session = Pushed;

    fn name(&self) -> String {
        format!("rocketmq:{}", self.topic)
    }

    async fn connect(&self, prefetch: usize) -> Result<Pushed, BrokerError> {
        Pushed::open(self, prefetch).await
    }
}

fn failed<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> BrokerError {
    move |problem| BrokerError::new("rocketmq", doing, problem.to_string())
}

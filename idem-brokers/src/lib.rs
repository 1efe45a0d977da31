//! idem in front of real brokers: consumers that ack only what is durable, and publishers that wait
//! for the broker's word.
//!
//! A [`Consumer`] takes messages from a [`Source`] and calls a handler for each. What the handler's
//! `#[idempotent]` call came to decides what the broker is told: the result is durable, so the
//! message is acked; the attempt failed and its record waits, so the message comes again then;
//! nobody can ever take it, so it becomes a dead letter and is acked.
//!
//! A [`Relay`] sends what handlers put into the outbox, each message until its broker has it, with
//! a [`Publisher`].
//!
//! Each broker is a feature: `rabbitmq`, `nats`, `kafka`, `redis`.

#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis"))]
mod address;
mod delivery;
mod error;
mod observe;
mod pauses;
mod publish;
mod relay;
mod republish;
mod runner;
pub mod testing;

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;

pub use delivery::{Delivery, Session, Source};
pub use error::BrokerError;
pub use observe::describe_metrics;
pub use publish::{KEY_HEADER, Message, Publisher};
pub use relay::{Relay, Relaying};
pub use republish::republish;
pub use runner::{Consumer, Running, State};

#[cfg(all(
    doctest,
    feature = "rabbitmq",
    feature = "nats",
    feature = "redis",
    feature = "kafka"
))]
#[doc = include_str!("../README.md")]
mod readme {}

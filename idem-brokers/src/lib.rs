//! Consumers and publishers for message brokers, in front of [`idem_runtime`]'s handlers.
//!
//! - A [`Consumer`] takes messages from a [`Source`] and calls a handler for each. It acks a
//!   message only after its result, or its dead letter, is durable.
//! - A [`Relay`] publishes the messages that handlers put into the outbox, with a [`Publisher`].
//! - [`republish`] sends dead letters back to where they came from.
//!
//! Each broker is a module behind a feature: `rabbitmq`, `nats`, `redis`, `kafka`. It has a
//! [`Source`] and a [`Publisher`] (`rabbitmq::RabbitMq`, `rabbitmq::RabbitMqPublisher`), and a
//! `Session` and a `Delivery` that implement the traits of the same names. RocketMQ is the crate
//! `idem-rocketmq`. [`testing`] has a queue in memory.

#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis"))]
mod address;
mod backoff;
mod delivery;
mod error;
mod metrics;
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
pub use metrics::describe_metrics;
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

//! idem in front of real brokers: consumers that ack only what is durable, and publishers that wait for the broker's word.
//!
//! A [`Consumer`] takes messages from a [`Source`] and calls a handler for each. What the handler's `#[idempotent]` call
//! came to decides what the broker is told: the result is durable, so the message is acked; the attempt failed and its
//! record waits, so the message comes again then; nobody can ever take it, so it becomes a dead letter and is acked.
//!
//! Each broker is a feature: `rabbitmq`, `nats`, `kafka`, `redis`.

mod delivery;
mod error;
mod observe;
mod publish;
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
pub use publish::{Message, Publisher};
pub use runner::{Consumer, Running, State};

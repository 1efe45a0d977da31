//! Connecting to a server, and the fields of an entry.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, RedisError};

use crate::address::Address;
use crate::error::BrokerError;

/// The field of an entry with the message.
pub(super) const PAYLOAD: &str = "payload";
/// The field of an entry with the message's id.
pub(super) const ID: &str = "id";
/// How long Redis has for a response.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Connects. `response` is how long a response may take.
pub(super) async fn connect(
    url: &Address,
    response: Duration,
) -> Result<MultiplexedConnection, BrokerError> {
    // Has no effect if the process installed a provider of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let connect = failed("connect");
    let client = Client::open(url.expose()).map_err(&connect)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(response));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(&connect)
}

pub(super) fn failed(doing: &'static str) -> impl Fn(RedisError) -> BrokerError {
    move |problem| BrokerError::new("redis", doing, problem)
}

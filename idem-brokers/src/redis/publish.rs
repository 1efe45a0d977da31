//! Publishing to streams.

use ::redis::aio::MultiplexedConnection;
use idem_runtime::clock::BoxFuture;
use tokio::sync::Mutex;

use super::connection::{ID, PATIENCE, PAYLOAD, connect, failed};
use crate::address::Address;
use crate::error::BrokerError;
use crate::publish::{Message, Publisher};

/// Adds messages to the streams of a server. Redis does not recognise copies.
pub struct RedisPublisher {
    url: Address,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisPublisher {
    /// Publishes to the server at a `redis://` or `rediss://` address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            connection: Mutex::default(),
        }
    }

    async fn connection(&self) -> Result<MultiplexedConnection, BrokerError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        Ok(connection
            .insert(connect(&self.url, PATIENCE).await?)
            .clone())
    }
}

impl Publisher for RedisPublisher {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let mut connection = self.connection().await?;
            let mut add = ::redis::cmd("XADD");
            add.arg(&message.to)
                .arg("*")
                .arg(PAYLOAD)
                .arg(&message.payload);
            if let Some(id) = &message.id {
                add.arg(ID).arg(id);
            }
            message
                .headers
                .iter()
                .filter(|(name, _)| name != PAYLOAD && name != ID)
                .for_each(|(name, value)| {
                    add.arg(name).arg(value);
                });
            let added: Result<String, _> = add.query_async(&mut connection).await;
            if added.is_err() {
                // The next message gets a new connection.
                *self.connection.lock().await = None;
            }
            added.map(drop).map_err(failed("add to a stream"))
        })
    }
}

impl std::fmt::Debug for RedisPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisPublisher").finish_non_exhaustive()
    }
}

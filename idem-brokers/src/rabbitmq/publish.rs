//! Publishing through an exchange.

use idem_runtime::clock::BoxFuture;
use lapin::options::ConfirmSelectOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;

use super::{again, connect, failed};
use crate::address::Address;
use crate::error::BrokerError;
use crate::publish::{Message, Publisher};

/// Publishes to an exchange; where a message goes to is its routing key. A message's id is its
/// `message_id`. Each message is persistent, has to reach a queue, and is confirmed by the broker.
/// RabbitMQ itself knows no second copies.
pub struct Exchange {
    url: Address,
    exchange: String,
    properties: ConnectionProperties,
    /// The connection is kept with its channel: it ends when it is dropped.
    connected: Mutex<Option<(Connection, Channel)>>,
}

impl Exchange {
    /// The broker's own exchange, which leads to the queue of the name, at an `amqp://` or
    /// `amqps://` address. It connects with the first message.
    pub fn default_of(url: impl Into<String>) -> Self {
        Self::named(url, "")
    }

    /// An exchange of this name, which has to be there.
    pub fn named(url: impl Into<String>, exchange: impl Into<String>) -> Self {
        let properties = ConnectionProperties::default();
        Self {
            url: Address::new(url),
            exchange: exchange.into(),
            properties,
            connected: Mutex::default(),
        }
    }

    /// How to connect: a name for the connection, a way to authenticate.
    #[must_use]
    pub fn properties(mut self, properties: ConnectionProperties) -> Self {
        self.properties = properties;
        self
    }

    async fn channel(&self) -> Result<Channel, BrokerError> {
        let mut connected = self.connected.lock().await;
        if let Some((_, channel)) = connected
            .as_ref()
            .filter(|(_, channel)| channel.status().connected())
        {
            return Ok(channel.clone());
        }
        let connection = connect(&self.url, self.properties.clone()).await?;
        let channel = connection
            .create_channel()
            .await
            .map_err(failed("open a channel"))?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(failed("turn confirms on"))?;
        *connected = Some((connection, channel.clone()));
        Ok(channel)
    }
}

impl Publisher for Exchange {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let channel = self.channel().await?;
            let mut headers = FieldTable::default();
            for (name, value) in message.headers {
                let name = lapin::types::ShortString::try_new(name);
                let name = name.map_err(|error| {
                    BrokerError::new("rabbitmq", "write a header's name", error)
                })?;
                headers.insert(name, AMQPValue::LongString(value.into()));
            }
            let mut properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_headers(headers);
            if let Some(id) = message.id {
                let id = lapin::types::ShortString::try_new(id);
                let id = id.map_err(|error| {
                    BrokerError::new("rabbitmq", "write the message's id", error)
                })?;
                properties = properties.with_message_id(id);
            }
            again::publish(
                &channel,
                &self.exchange,
                &message.to,
                &message.payload,
                properties,
            )
            .await
        })
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

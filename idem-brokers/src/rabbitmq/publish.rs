//! Publishing to an exchange.

use idem_runtime::clock::BoxFuture;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;

use super::connection::{confirming_channel, connect, publish};
use crate::address::Address;
use crate::error::BrokerError;
use crate::publish::{Message, Publisher};

/// Publishes to an exchange, with [`Message::to`] as the routing key and [`Message::id`] as the
/// `message_id`. Messages are persistent and mandatory, and the broker confirms each. RabbitMQ does
/// not recognise copies.
pub struct RabbitMqPublisher {
    url: Address,
    exchange: String,
    properties: ConnectionProperties,
    /// The channel, and its connection, which closes when it is dropped.
    connected: Mutex<Option<(Connection, Channel)>>,
}

impl RabbitMqPublisher {
    /// Publishes to the default exchange, whose routing keys are the names of queues, of the broker
    /// at an `amqp://` or `amqps://` address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            exchange: String::new(),
            properties: ConnectionProperties::default(),
            connected: Mutex::default(),
        }
    }

    /// Publishes to an existing exchange instead of the default one.
    #[must_use]
    pub fn exchange(mut self, name: impl Into<String>) -> Self {
        self.exchange = name.into();
        self
    }

    /// Sets the connection's properties: its name, its authentication.
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
        let channel = confirming_channel(&connection).await?;
        *connected = Some((connection, channel.clone()));
        Ok(channel)
    }
}

impl Publisher for RabbitMqPublisher {
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
            publish(
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

impl std::fmt::Debug for RabbitMqPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitMqPublisher")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

//! Publishing to streams.

use async_nats::jetstream::{self, Context, message::PublishMessage};
use async_nats::{ConnectOptions, HeaderMap};
use idem_runtime::clock::BoxFuture;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::connection::{connect, failed, while_connected};
use crate::address::Address;
use crate::error::BrokerError;
use crate::publish::{Message, Publisher};

/// Publishes to the streams of a server, with [`Message::id`] as the `Nats-Msg-Id`. A stream drops
/// copies within its `duplicate_window`, two minutes by default.
pub struct NatsPublisher {
    url: Address,
    options: Option<ConnectOptions>,
    connection: Mutex<Option<(Context, CancellationToken)>>,
}

impl NatsPublisher {
    /// Publishes to the server at a `nats://` or `tls://` address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            options: None,
            connection: Mutex::default(),
        }
    }

    /// Sets the connection's options: credentials, certificates.
    #[must_use]
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = Some(options);
        self
    }

    async fn connection(&self) -> Result<(Context, CancellationToken), BrokerError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref().filter(|(_, lost)| !lost.is_cancelled()) {
            return Ok(connection.clone());
        }
        let (client, lost) = connect(&self.url, self.options.clone()).await?;
        Ok(connection.insert((jetstream::new(client), lost)).clone())
    }
}

impl Publisher for NatsPublisher {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let (context, lost) = self.connection().await?;
            let mut headers = HeaderMap::new();
            for (name, value) in &message.headers {
                let name: async_nats::HeaderName =
                    name.parse().map_err(failed("write a header's name"))?;
                let value: async_nats::HeaderValue =
                    value.parse().map_err(failed("write a header's value"))?;
                headers.append(name, value);
            }
            let mut publish = PublishMessage::build()
                .payload(message.payload.into())
                .headers(headers);
            if let Some(id) = &message.id {
                publish = publish.message_id(id);
            }
            let sent = async { context.send_publish(message.to, publish).await?.await };
            while_connected(&lost, "publish to a stream", sent)
                .await
                .map(drop)
        })
    }
}

impl std::fmt::Debug for NatsPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsPublisher").finish_non_exhaustive()
    }
}

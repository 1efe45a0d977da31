//! Consuming a stream.

use std::time::Duration;

use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::{self, AckKind, Context, Message, stream};
use async_nats::{Client, Subject};
use idem_runtime::Origin;
use tokio_util::sync::CancellationToken;

use super::Nats;
use super::connection::{connect, failed, while_connected};
use super::pull::Pull;
use crate::error::BrokerError;

/// A connection to a durable consumer.
pub struct Session {
    client: Client,
    lost: CancellationToken,
    context: Context,
    pull: Pull,
    progress: Duration,
}

impl Session {
    pub(super) async fn open(nats: &Nats) -> Result<Self, BrokerError> {
        let (client, lost) = connect(&nats.url, nats.options.clone()).await?;
        let context = jetstream::new(client.clone());
        let open = async {
            let stream = if nats.make.is_empty() {
                context
                    .get_stream(&nats.stream)
                    .await
                    .map_err(failed("find the stream"))?
            } else {
                let (name, subjects) = (nats.stream.clone(), nats.make.clone());
                let config = stream::Config {
                    name,
                    subjects,
                    ..stream::Config::default()
                };
                context
                    .get_or_create_stream(config)
                    .await
                    .map_err(failed("find or create the stream"))?
            };
            let config = Config {
                durable_name: Some(nats.durable.clone()),
                filter_subject: nats.subject.clone(),
                ack_policy: AckPolicy::Explicit,
                ack_wait: nats.ack_wait,
                max_deliver: -1,
                max_ack_pending: nats.max_ack_pending,
                ..Config::default()
            };
            let consumer = stream.get_or_create_consumer(&nats.durable, config).await;
            consumer.map_err(failed("find or create the durable consumer"))
        };
        let consumer = while_connected(&lost, "open the durable consumer", open).await?;
        // An existing consumer may have another value.
        let ack_wait = consumer.cached_info().config.ack_wait;
        let progress = if ack_wait.is_zero() {
            nats.ack_wait
        } else {
            ack_wait
        } / 3;
        let pull = Pull::start(&client, consumer).await?;
        Ok(Self {
            client,
            lost,
            context,
            pull,
            progress,
        })
    }

    fn message(&self, message: async_nats::Message) -> Message {
        Message {
            message,
            context: self.context.clone(),
        }
    }
}

impl crate::Session for Session {
    type Delivery = Delivery;

    async fn next(&mut self, room: usize) -> Result<Delivery, BrokerError> {
        let lost = self.lost.clone();
        let message = while_connected(&lost, "wait for a message", self.pull.next(room)).await?;
        let message = self.message(message);
        Ok(Delivery {
            client: self.client.clone(),
            lost,
            message,
            progress: self.progress,
        })
    }

    async fn close(mut self) {
        // Messages that have arrived go back at once. The server redelivers those on their way
        // after `ack_wait`.
        while let Some(message) = self.pull.arrived() {
            let _ = self.message(message).ack_with(AckKind::Nak(None)).await;
        }
        // The server has the last acks when it has answered this.
        let _ = self.client.flush().await;
    }
}

/// A message of a stream.
#[derive(Debug)]
pub struct Delivery {
    client: Client,
    lost: CancellationToken,
    message: Message,
    progress: Duration,
}

impl Delivery {
    /// Returns the subject of acks.
    fn reply(&self, doing: &'static str) -> Result<Subject, BrokerError> {
        let missing = || BrokerError::new("nats", doing, "the message did not come from a stream");
        self.message.reply.clone().ok_or_else(missing)
    }

    /// Sends an ack, and waits until the server confirms it.
    async fn send(&self, doing: &'static str, ack: AckKind) -> Result<(), BrokerError> {
        let reply = self.reply(doing)?;
        while_connected(&self.lost, doing, self.client.request(reply, ack.into()))
            .await
            .map(drop)
    }
}

fn position(subject: &str, sequence: u64) -> String {
    format!("subject {subject}, sequence {sequence}")
}

/// Returns the subject in a position.
pub(super) fn subject(position: &str) -> Option<&str> {
    let (subject, _) = position
        .strip_prefix("subject ")?
        .rsplit_once(", sequence ")?;
    Some(subject)
}

impl crate::Delivery for Delivery {
    fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    fn origin(&self) -> Origin {
        let mut origin = match self.message.info() {
            Ok(info) => Origin::new("nats", info.stream)
                .position(position(&self.message.subject, info.stream_sequence))
                .redelivered(info.delivered > 1),
            Err(_) => Origin::new("nats", self.message.subject.as_str()),
        };
        for (name, values) in self
            .message
            .headers
            .iter()
            .flat_map(|headers| headers.iter())
        {
            for value in values {
                origin = match AsRef::<str>::as_ref(name) {
                    "Nats-Msg-Id" => origin.message_id(value.as_str()),
                    name => origin.header(name, value.as_str()),
                };
            }
        }
        origin
    }

    fn redelivered(&self) -> Option<u32> {
        let delivered = self.message.info().ok()?.delivered;
        u32::try_from(delivered.saturating_sub(1)).ok()
    }

    async fn ack(self) -> Result<(), BrokerError> {
        // Not confirmed by the server: if the ack is lost, the redelivered message is a duplicate.
        let (doing, reply) = ("ack a message", self.reply("ack a message")?);
        while_connected(
            &self.lost,
            doing,
            self.client.publish(reply, AckKind::Ack.into()),
        )
        .await
    }

    async fn retry(self, after: Duration) -> Result<(), BrokerError> {
        let after = (!after.is_zero()).then_some(after);
        self.send("give a message back", AckKind::Nak(after)).await
    }

    fn progress_every(&self) -> Option<Duration> {
        Some(self.progress)
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        self.send("keep a message", AckKind::Progress).await
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("pull", &self.pull)
            .finish_non_exhaustive()
    }
}

//! Pulling from a durable consumer.

use std::time::Duration;

use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::{self, AckKind, Context, Message, stream};
use async_nats::{Client, Subject};
use idem_runtime::Origin;
use tokio_util::sync::CancellationToken;

use super::ask::Asking;
use super::{Nats, connect, failed, while_connected};
use crate::delivery::{Delivery, Session};
use crate::error::BrokerError;

/// One connection to a durable consumer.
pub struct Pull {
    client: Client,
    lost: CancellationToken,
    context: Context,
    asking: Asking,
    progress: Duration,
}

impl Pull {
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
                    .map_err(failed("find or make the stream"))?
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
            let made = stream.get_or_create_consumer(&nats.durable, config).await;
            made.map_err(failed("find or make the durable consumer"))
        };
        let consumer = while_connected(&lost, "open the durable consumer", open).await?;
        // The server's word, where the consumer was there before.
        let ack_wait = consumer.cached_info().config.ack_wait;
        let progress = if ack_wait.is_zero() {
            nats.ack_wait
        } else {
            ack_wait
        } / 3;
        let asking = Asking::begin(&client, consumer).await?;
        Ok(Self {
            client,
            lost,
            context,
            asking,
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

impl Session for Pull {
    type Delivery = Pulled;

    async fn next(&mut self, room: usize) -> Result<Pulled, BrokerError> {
        let lost = self.lost.clone();
        let message = while_connected(&lost, "wait for a message", self.asking.next(room)).await?;
        let message = self.message(message);
        Ok(Pulled {
            client: self.client.clone(),
            lost,
            message,
            progress: self.progress,
        })
    }

    async fn close(mut self) {
        // What is here already goes back at once; what is on its way comes again after the server's
        // own time.
        while let Some(message) = self.asking.here() {
            let _ = self.message(message).ack_with(AckKind::Nak(None)).await;
        }
        // The last acks are with the server when it has answered this.
        let _ = self.client.flush().await;
    }
}

/// A message of a stream.
#[derive(Debug)]
pub struct Pulled {
    client: Client,
    lost: CancellationToken,
    message: Message,
    progress: Duration,
}

impl Pulled {
    /// Where the server wants to hear of it.
    fn reply(&self, doing: &'static str) -> Result<Subject, BrokerError> {
        let missing = || BrokerError::new("nats", doing, "the message did not come from a stream");
        self.message.reply.clone().ok_or_else(missing)
    }

    /// Says it, and waits until the server heard.
    async fn say(&self, doing: &'static str, word: AckKind) -> Result<(), BrokerError> {
        let reply = self.reply(doing)?;
        while_connected(&self.lost, doing, self.client.request(reply, word.into()))
            .await
            .map(drop)
    }
}

impl Delivery for Pulled {
    fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    fn origin(&self) -> Origin {
        let mut origin = match self.message.info() {
            Ok(info) => {
                let position = format!(
                    "subject {}, sequence {}",
                    self.message.subject, info.stream_sequence
                );
                Origin::new("nats", info.stream).position(position)
            }
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
        // Without the server's word: one that is lost brings the message again, and the ledger
        // knows it.
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
        self.say("give a message back", AckKind::Nak(after)).await
    }

    fn progress_every(&self) -> Option<Duration> {
        Some(self.progress)
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        self.say("keep a message", AckKind::Progress).await
    }
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull")
            .field("asking", &self.asking)
            .finish_non_exhaustive()
    }
}

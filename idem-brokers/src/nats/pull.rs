//! Requests messages from a durable consumer: as many as there is room for, and the next ones
//! before the last ones arrive.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::connection::failed;
use crate::error::BrokerError;

/// How long the server keeps a request. All open requests end together, so that those that a
/// cluster lost when its leader changed are made again.
const EXPIRES: Duration = Duration::from_secs(10);
/// How much later the server may report a request's end.
const GRACE: Duration = Duration::from_secs(1);

/// The header with the number of messages that an ended request did not get.
const PENDING: &str = "Nats-Pending-Messages";

/// Open requests, and the subscription on which messages arrive.
#[derive(Debug)]
pub(super) struct Pull {
    consumer: PullConsumer,
    inbox: Subject,
    arrivals: Subscriber,
    /// The number of requested messages that did not arrive yet.
    open: usize,
    /// When the open requests end.
    until: Instant,
}

impl Pull {
    pub(super) async fn start(
        client: &Client,
        consumer: PullConsumer,
    ) -> Result<Self, BrokerError> {
        let inbox = Subject::from(client.new_inbox());
        let arrivals = client
            .subscribe(inbox.clone())
            .await
            .map_err(failed("wait for messages"))?;
        Ok(Self {
            consumer,
            inbox,
            arrivals,
            open: 0,
            until: Instant::now(),
        })
    }

    /// Waits for the next message. `room` is how many messages there is room for.
    pub(super) async fn next(&mut self, room: usize) -> Result<Message, BrokerError> {
        loop {
            self.request(room).await?;
            match timeout_at(self.until + GRACE, self.arrivals.next()).await {
                Err(_late) => self.open = 0,
                Ok(None) => return Err(failed("wait for a message")("its subscription ended")),
                Ok(Some(arrived)) => {
                    if let Some(message) = self.receive(arrived)? {
                        return Ok(message);
                    }
                }
            }
        }
    }

    /// Returns a message that has arrived already.
    pub(super) fn arrived(&mut self) -> Option<Message> {
        while let Some(Some(arrived)) = self.arrivals.next().now_or_never() {
            if let Ok(Some(message)) = self.receive(arrived) {
                return Some(message);
            }
        }
        None
    }

    /// Requests as many messages as there is room for, unless half of them are requested already.
    async fn request(&mut self, room: usize) -> Result<(), BrokerError> {
        let now = Instant::now();
        if self.open == 0 {
            self.until = now + EXPIRES;
        }
        let expires = self.until.saturating_duration_since(now);
        if expires.is_zero() || 2 * self.open > room {
            return Ok(());
        }
        let more = BatchConfig {
            batch: room - self.open,
            expires: Some(expires),
            ..BatchConfig::default()
        };
        let requested = self.consumer.request_batch(more, self.inbox.clone()).await;
        requested.map_err(failed("request messages"))?;
        self.open = room;
        Ok(())
    }

    /// Returns the message that arrived, or `None` for the end of a request.
    fn receive(&mut self, arrived: Message) -> Result<Option<Message>, BrokerError> {
        let left = |headers: &HeaderMap| headers.get(PENDING)?.as_str().parse::<usize>().ok();
        let left = arrived.headers.as_ref().and_then(left);
        match (arrived.status, left) {
            (None, _) => {
                self.open = self.open.saturating_sub(1);
                return Ok(Some(arrived));
            }
            (Some(StatusCode::IDLE_HEARTBEAT), _) => {}
            // The request has expired, or its server shuts down.
            (Some(StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED), Some(left)) => {
                self.open = self.open.saturating_sub(left);
            }
            // This server does not report how many messages are left.
            (Some(StatusCode::TIMEOUT), None) => self.open = 0,
            (Some(status), _) => {
                let description = arrived.description.unwrap_or_default();
                return Err(failed("wait for a message")(format!(
                    "the server reports {status}: {description}"
                )));
            }
        }
        Ok(None)
    }
}

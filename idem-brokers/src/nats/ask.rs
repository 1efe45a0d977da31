//! Asking a durable consumer for messages: for as many as there is room for, and for the next
//! before the last have come.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::failed;
use crate::error::BrokerError;

/// How long the server keeps what it was asked for. All that is open at a time ends together, so
/// that what a cluster forgot when its leader changed is asked for again.
const EXPIRES: Duration = Duration::from_secs(10);
/// How much longer its word of that may take.
const GRACE: Duration = Duration::from_secs(1);

/// What a request leaves when it ends, in the server's words.
const PENDING: &str = "Nats-Pending-Messages";

/// Requests for messages, and where they come.
#[derive(Debug)]
pub(super) struct Asking {
    consumer: PullConsumer,
    inbox: Subject,
    coming: Subscriber,
    /// How many were asked for and did not come.
    open: usize,
    /// When that ends.
    until: Instant,
}

impl Asking {
    pub(super) async fn begin(
        client: &Client,
        consumer: PullConsumer,
    ) -> Result<Self, BrokerError> {
        let inbox = Subject::from(client.new_inbox());
        let coming = client
            .subscribe(inbox.clone())
            .await
            .map_err(failed("wait for messages"))?;
        Ok(Self {
            consumer,
            inbox,
            coming,
            open: 0,
            until: Instant::now(),
        })
    }

    /// The next message, where there is room for so many.
    pub(super) async fn next(&mut self, room: usize) -> Result<Message, BrokerError> {
        loop {
            self.ask(room).await?;
            match timeout_at(self.until + GRACE, self.coming.next()).await {
                Err(_late) => self.open = 0,
                Ok(None) => return Err(failed("wait for a message")("its subscription ended")),
                Ok(Some(came)) => {
                    if let Some(message) = self.took(came)? {
                        return Ok(message);
                    }
                }
            }
        }
    }

    /// A message that is here already.
    pub(super) fn here(&mut self) -> Option<Message> {
        while let Some(Some(came)) = self.coming.next().now_or_never() {
            if let Ok(Some(message)) = self.took(came) {
                return Some(message);
            }
        }
        None
    }

    /// Asks for what there is room for, when that is worth a request.
    async fn ask(&mut self, room: usize) -> Result<(), BrokerError> {
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
        let asked = self.consumer.request_batch(more, self.inbox.clone()).await;
        asked.map_err(failed("ask for messages"))?;
        self.open = room;
        Ok(())
    }

    /// What came: a message, or the end of a request.
    fn took(&mut self, came: Message) -> Result<Option<Message>, BrokerError> {
        let left = |headers: &HeaderMap| headers.get(PENDING)?.as_str().parse::<usize>().ok();
        let left = came.headers.as_ref().and_then(left);
        match (came.status, left) {
            (None, _) => {
                self.open = self.open.saturating_sub(1);
                return Ok(Some(came));
            }
            (Some(StatusCode::IDLE_HEARTBEAT), _) => {}
            // Its time is over, or its server is going.
            (Some(StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED), Some(left)) => {
                self.open = self.open.saturating_sub(left);
            }
            // A server that does not say what is left.
            (Some(StatusCode::TIMEOUT), None) => self.open = 0,
            (Some(status), _) => {
                let said = came.description.unwrap_or_default();
                return Err(failed("wait for a message")(format!(
                    "the server says {status}: {said}"
                )));
            }
        }
        Ok(None)
    }
}

//! Publishes the outbox: each message until the broker confirms it, in order per ordering key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use idem_runtime::{
    Idem,
    ledger::LedgerError,
    outbox::{Outbox, OutboxEntry},
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::error::BrokerError;
use crate::metrics;
use crate::publish::{Message, Publisher};

/// The number of messages read at once: so many are sent again at most if the process dies before
/// it acknowledges them.
const PAGE: usize = 256;
/// How often the outbox is read without a notification: another process may fill it.
const POLL: Duration = Duration::from_secs(1);
/// How long a broker has to confirm a message.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause of an ordering key whose message is refused.
const LONGEST: Duration = Duration::from_secs(30);
/// The most ordering keys that are paused at a time. With more, the broker is down, and the rest is
/// not tried.
const MAX_PAUSED: usize = 1024;

/// Publishes the messages in the outbox of an [`Idem`], once [started](Self::start).
///
/// A message is published until the broker confirms it, with its id in the outbox, by which brokers
/// and consumers recognise copies. A process that dies between the broker's confirmation and its
/// own acknowledgement publishes up to 256 messages again. Messages with the same ordering key are
/// published one after the other, in the order of [`Outbox::pending`]. A message that the broker
/// refuses pauses its own ordering key only.
///
/// A relay may run in every replica. Each publishes a message only after those before it with the
/// same ordering key were confirmed, to itself or to another relay that acknowledged them. So the
/// first copies arrive in order, even if relays die or stall. A second copy may arrive after newer
/// messages.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use idem_brokers::{Relay, testing};
/// use idem_runtime::outbox::OutboxMessage;
///
/// let idem = idem_runtime::testing::temporary()?;
/// let placed = testing::Queue::new("orders.placed");
/// let relay = Relay::new(&idem, placed.clone()).start();
/// idem.outbox().send(OutboxMessage::new("orders.placed", "A-1001", "{}")).await?;
/// placed.until_published(1).await;
/// relay.stop(Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
#[must_use = "it does nothing before `start` is called"]
pub struct Relay<P> {
    idem: Idem,
    publisher: P,
    in_flight: usize,
}

impl<P: Publisher> Relay<P> {
    /// Creates a relay with 64 ordering keys in flight.
    pub fn new(idem: &Idem, publisher: P) -> Self {
        Self {
            idem: idem.clone(),
            publisher,
            in_flight: 64,
        }
    }

    /// Sets how many ordering keys are in flight, at least one, with one message each.
    pub fn in_flight(mut self, ordering_keys: usize) -> Self {
        self.in_flight = ordering_keys.max(1);
        self
    }

    /// Starts to publish, on the current Tokio runtime.
    pub fn start(self) -> Relaying {
        metrics::describe_metrics();
        let stop = CancellationToken::new();
        let worker = Worker {
            outbox: self.idem.outbox(),
            publisher: Arc::new(self.publisher),
            in_flight: self.in_flight,
            paused: HashMap::new(),
            stop: stop.clone(),
        };
        Relaying {
            stop,
            task: Some(tokio::spawn(worker.run())),
        }
    }
}

/// A running relay. Dropping it stops it after the messages in flight.
#[derive(Debug)]
#[must_use = "the relay stops when this is dropped"]
pub struct Relaying {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Relaying {
    /// Stops publishing, and waits up to `deadline` for the messages in flight. The next relay
    /// publishes those that were not confirmed.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop.cancel();
        let Some(mut task) = self.task.take() else {
            return;
        };
        if timeout(deadline, &mut task).await.is_err() {
            task.abort();
        }
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Worker<P> {
    outbox: Outbox,
    publisher: Arc<P>,
    in_flight: usize,
    /// Ordering keys whose first message the broker did not take.
    paused: HashMap<String, PausedKey>,
    stop: CancellationToken,
}

/// An ordering key that waits to be tried again.
struct PausedKey {
    backoff: Backoff,
    until: Instant,
}

/// What was published of one ordering key.
struct Published {
    ordering_key: String,
    entries: Vec<OutboxEntry>,
    error: Option<BrokerError>,
}

impl<P: Publisher> Worker<P> {
    async fn run(mut self) {
        loop {
            // Registered before the outbox is read, so that no change is missed.
            let changed = self.outbox.changed();
            let retry_at = match self.round().await {
                Ok(retry_at) => retry_at,
                Err(LedgerError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read or written; trying again");
                    None
                }
            };
            let poll_at = Instant::now() + POLL;
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = changed => {}
                () = tokio::time::sleep_until(retry_at.map_or(poll_at, |at| at.min(poll_at))) => {}
            }
        }
    }

    /// Goes through the outbox once. Returns when the first paused ordering key is due.
    async fn round(&mut self) -> Result<Option<Instant>, LedgerError> {
        let mut blocked = HashSet::new();
        let mut after: Option<OutboxEntry> = None;
        loop {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let page = self.outbox.pending(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            let (ready, too_many_paused) = self.ready(page, &mut blocked);
            if ready.is_empty() && too_many_paused {
                return Ok(None);
            }
            let (publisher, stop) = (&*self.publisher, &self.stop);
            let published =
                stream::iter(ready).map(|(key, entries)| publish(publisher, stop, key, entries));
            let published: Vec<_> = published.buffer_unordered(self.in_flight).collect().await;
            let mut confirmed = Vec::new();
            for Published {
                ordering_key,
                entries,
                error,
            } in published
            {
                confirmed.extend(entries);
                match error {
                    Some(error) => {
                        self.pause(&ordering_key, &error);
                        blocked.insert(ordering_key);
                    }
                    None => drop(self.paused.remove(&ordering_key)),
                }
            }
            if !confirmed.is_empty() {
                self.outbox.acknowledge(&confirmed).await?;
            }
        }
        // The messages of a key that is no longer in the outbox were published by another relay.
        self.paused.retain(|key, _| blocked.contains(key));
        Ok(self.paused.values().map(|paused| paused.until).min())
    }

    /// Returns a page's messages that may be published now, by ordering key, and whether some wait
    /// only because too many keys are paused. A message never overtakes a `blocked` one of its key.
    fn ready(
        &self,
        page: Vec<OutboxEntry>,
        blocked: &mut HashSet<String>,
    ) -> (BTreeMap<String, Vec<OutboxEntry>>, bool) {
        let mut ready = BTreeMap::<String, Vec<OutboxEntry>>::new();
        let (mut too_many_paused, now) = (false, Instant::now());
        for entry in page {
            let key = &entry.message.ordering_key;
            let no_room = self.paused.len() >= MAX_PAUSED && !self.paused.contains_key(key);
            if blocked.contains(key)
                || no_room
                || self
                    .paused
                    .get(key)
                    .is_some_and(|paused| paused.until > now)
            {
                too_many_paused |= no_room;
                blocked.insert(key.clone());
            } else {
                ready.entry(key.clone()).or_default().push(entry);
            }
        }
        (ready, too_many_paused)
    }

    /// Pauses an ordering key after an error, for longer each time.
    fn pause(&mut self, ordering_key: &str, error: &BrokerError) {
        let paused = self
            .paused
            .entry(ordering_key.to_owned())
            .or_insert_with(|| PausedKey {
                backoff: Backoff::up_to(LONGEST),
                until: Instant::now(),
            });
        let pause = paused.backoff.next();
        paused.until = Instant::now() + pause;
        tracing::warn!(ordering_key, ?pause, %error, "a message was not published; its ordering key is paused");
    }
}

/// Publishes the messages of one ordering key one after the other, up to the first failure.
async fn publish<P: Publisher>(
    publisher: &P,
    stop: &CancellationToken,
    ordering_key: String,
    entries: Vec<OutboxEntry>,
) -> Published {
    let mut published = Published {
        ordering_key,
        entries: Vec::new(),
        error: None,
    };
    for entry in entries {
        if stop.is_cancelled() {
            break;
        }
        let message = Message {
            id: Some(entry.id.clone()),
            ..Message::from(entry.message.clone())
        };
        let late = |late| Err(BrokerError::new("broker", "confirm a message", late));
        // The publisher may be the user's code: the relay survives its panics.
        let publishing =
            AssertUnwindSafe(async { publisher.publish(message).await }).catch_unwind();
        let panicked = |_| {
            Err(BrokerError::new(
                "broker",
                "publish a message",
                "the publisher panicked",
            ))
        };
        let confirmed = timeout(PATIENCE, publishing)
            .await
            .map_or_else(late, |caught| caught.unwrap_or_else(panicked));
        metrics::count_relayed(&entry.message.destination, &confirmed);
        match confirmed {
            Ok(()) => published.entries.push(entry),
            Err(error) => {
                published.error = Some(error);
                break;
            }
        }
    }
    published
}

//! Rounds through the outbox: each message until the broker confirms it, in order per ordering key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use idem_runtime::{
    Idem,
    ledger::LedgerError,
    outbox::{Outbox, OutboxEntry},
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Relay;
use super::lead::Term;
use crate::backoff::Backoff;
use crate::error::BrokerError;
use crate::metrics;
use crate::publish::{Message, Publisher};

/// The number of messages read at once: so many are sent again at most if the process dies before
/// it acknowledges them.
const PAGE: usize = 256;
/// How often the outbox is read without a notification: another process may fill it.
const POLL: Duration = Duration::from_millis(250);
/// The same while an ordering key is paused, whose messages are all read each time.
const POLL_PAUSED: Duration = Duration::from_secs(1);
/// How long a broker has to confirm a message.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause of an ordering key whose message is refused.
const LONGEST: Duration = Duration::from_secs(30);
/// The most ordering keys that are paused at a time. With more, the broker is down, and the rest is
/// not tried.
const MAX_PAUSED: usize = 1024;

/// Goes through the outbox while its relay leads.
pub(super) struct Rounds<P> {
    idem: Idem,
    outbox: Outbox,
    publisher: P,
    in_flight: usize,
    /// How long the broker may confirm nothing before another relay is to try.
    ttl: Duration,
    /// Ordering keys whose first message the broker did not take.
    paused: HashMap<String, PausedKey>,
    broker: Mutex<Broker>,
    stop: CancellationToken,
    /// Ends the messages in flight, too.
    abandon: CancellationToken,
}

/// An ordering key that waits to be tried again.
struct PausedKey {
    backoff: Backoff,
    until: Instant,
}

/// What the broker did with the messages.
#[derive(Default)]
struct Broker {
    /// Confirmed and not yet acknowledged.
    confirmed: Vec<OutboxEntry>,
    /// Since when it has confirmed nothing, though messages wait.
    silent_since: Option<Instant>,
}

impl Broker {
    fn expect_an_answer(&mut self) {
        self.silent_since.get_or_insert_with(Instant::now);
    }

    fn confirm(&mut self, entry: OutboxEntry) {
        self.confirmed.push(entry);
        self.silent_since = Some(Instant::now());
    }

    fn is_silent(&self, long: Duration) -> bool {
        self.silent_since
            .is_some_and(|since| since.elapsed() >= long)
    }
}

/// What came of the messages of one ordering key.
struct Published {
    ordering_key: String,
    /// Whether all are confirmed.
    all: bool,
    error: Option<BrokerError>,
}

impl<P: Publisher> Rounds<P> {
    pub(super) fn new(
        relay: Relay<P>,
        stop: CancellationToken,
        abandon: CancellationToken,
    ) -> Self {
        Self {
            outbox: relay.idem.outbox(),
            idem: relay.idem,
            publisher: relay.publisher,
            in_flight: relay.in_flight,
            ttl: relay.ttl,
            paused: HashMap::new(),
            broker: Mutex::default(),
            stop,
            abandon,
        }
    }

    /// Waits until this process fills the outbox.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + use<P> {
        self.outbox.changed()
    }

    /// Goes through the outbox once. Returns when the first paused ordering key is due.
    pub(super) async fn go(&mut self, term: &Term) -> Result<Option<Instant>, LedgerError> {
        if !self.paused.is_empty() {
            self.broker.lock().expect_an_answer();
        }
        let mut blocked = HashSet::new();
        let mut after: Option<OutboxEntry> = None;
        let halt = self.stop.child_token();
        while !halt.is_cancelled() && term.lasts() {
            let page = self.outbox.pending(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                // The messages of the others were published by another relay.
                self.paused.retain(|key, _| blocked.contains(key));
                if self.paused.is_empty() {
                    self.forget_silence();
                }
                break;
            };
            after = Some(last.clone());
            let (ready, too_many_paused) = self.ready(page, &mut blocked);
            if ready.is_empty() && too_many_paused {
                break;
            }
            self.publish(ready, &mut blocked, term, &halt).await;
            self.acknowledge().await?;
        }
        Ok(self.paused.values().map(|paused| paused.until).min())
    }

    /// Returns how long to wait for a notification before the next round.
    pub(super) fn poll_after(&self) -> Duration {
        if self.paused.is_empty() {
            POLL
        } else {
            POLL_PAUSED
        }
    }

    /// Returns whether the broker has confirmed nothing for long, though messages wait.
    pub(super) fn is_refused(&self) -> bool {
        !self.paused.is_empty() && self.broker.lock().is_silent(self.ttl)
    }

    /// Begins to count anew how long the broker confirms nothing.
    pub(super) fn forget_silence(&self) {
        self.broker.lock().silent_since = None;
    }

    /// Removes the confirmed messages from the outbox. If that fails, they are remembered for the
    /// next call, and not published again before it.
    pub(super) async fn acknowledge(&self) -> Result<(), LedgerError> {
        let confirmed = std::mem::take(&mut self.broker.lock().confirmed);
        if confirmed.is_empty() {
            return Ok(());
        }
        let acknowledged = self.outbox.acknowledge(&confirmed).await;
        if acknowledged.is_err() {
            self.broker.lock().confirmed = confirmed;
        }
        acknowledged
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

    /// Publishes the messages of many ordering keys side by side. Halts when the broker refuses
    /// everything.
    async fn publish(
        &mut self,
        ready: BTreeMap<String, Vec<OutboxEntry>>,
        blocked: &mut HashSet<String>,
        term: &Term,
        halt: &CancellationToken,
    ) {
        let (publisher, broker) = (&self.publisher, &self.broker);
        broker.lock().expect_an_answer();
        let goes_on = || !halt.is_cancelled() && term.lasts();
        let mut publishing = stream::iter(ready)
            .map(|(key, entries)| publish(publisher, broker, &goes_on, key, entries))
            .buffer_unordered(self.in_flight);
        while let Some(Some(published)) = self.abandon.run_until_cancelled(publishing.next()).await
        {
            let key = published.ordering_key;
            match published.error {
                Some(error) => {
                    pause(&mut self.paused, &self.idem, &key, &error);
                    if broker.lock().is_silent(self.ttl) {
                        halt.cancel();
                    }
                }
                None if published.all => drop(self.paused.remove(&key)),
                None => {}
            }
            if !published.all {
                blocked.insert(key);
            }
        }
    }
}

/// Pauses an ordering key after an error, for longer each time.
fn pause(
    paused: &mut HashMap<String, PausedKey>,
    idem: &Idem,
    ordering_key: &str,
    error: &BrokerError,
) {
    let paused = paused
        .entry(ordering_key.to_owned())
        .or_insert_with(|| PausedKey {
            backoff: Backoff::up_to(LONGEST),
            until: Instant::now(),
        });
    let pause = paused.backoff.next();
    paused.until = Instant::now() + pause;
    if idem.logs(
        "messages that were not published",
        "outbox",
        &error.to_string(),
    ) {
        tracing::warn!(ordering_key, ?pause, %error, "a message was not published; its ordering key is paused");
    }
}

/// Publishes the messages of one ordering key one after the other, up to the first failure.
async fn publish<P: Publisher>(
    publisher: &P,
    broker: &Mutex<Broker>,
    goes_on: &(impl Fn() -> bool + Sync),
    ordering_key: String,
    entries: Vec<OutboxEntry>,
) -> Published {
    let mut published = Published {
        ordering_key,
        all: false,
        error: None,
    };
    for entry in entries {
        if !goes_on() {
            return published;
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
            Ok(()) => broker.lock().confirm(entry),
            Err(error) => {
                published.error = Some(error);
                return published;
            }
        }
    }
    published.all = true;
    published
}

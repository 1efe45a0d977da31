//! From the outbox to the broker: each message until the broker has it, those of one lane in their
//! order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use idem_runtime::{
    Error, Idem,
    outbox::{Outbox, OutboxEntry},
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::BrokerError;
use crate::observe;
use crate::pauses::Pauses;
use crate::publish::{Message, Publisher};

/// Messages read at once: what is sent again at most when the process dies before it has written
/// down what was sent.
const PAGE: usize = 256;
/// How often the outbox is looked at without a hint: another process may fill it.
const LOOK: Duration = Duration::from_secs(1);
/// How long a broker has to confirm a message.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause of a lane whose message is refused.
const LONGEST: Duration = Duration::from_secs(30);
/// Lanes that may be held at a time: with more of them the broker is down, and the rest need not be
/// tried.
const MOST_HELD: usize = 1024;

/// Sends what is in the outbox of an [`Idem`]; to be followed by [`start`](Self::start).
///
/// Every message goes out until the broker confirms it, with the id it has in the outbox, which
/// brokers and consumers know a second copy by: a process that dies between the broker's word and
/// its own note of it sends up to 256 messages again. Messages of one lane go one after the other,
/// in the order of [`Outbox::pending`]; one that the broker refuses holds up its lane, and no
/// other.
///
/// It may run in every replica. Each relay sends a message only when those before it in its lane
/// were confirmed, to itself or to another relay that took them out of the outbox. So the first
/// copies of a lane's messages reach the broker in their order, however many relays there are and
/// whichever of them dies or stalls; a second copy of a message may come after younger ones.
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
#[must_use = "it does nothing before `start`"]
pub struct Relay<P> {
    idem: Idem,
    publisher: P,
    in_flight: usize,
}

impl<P: Publisher> Relay<P> {
    /// A relay with 64 lanes in flight.
    pub fn new(idem: &Idem, publisher: P) -> Self {
        Self {
            idem: idem.clone(),
            publisher,
            in_flight: 64,
        }
    }

    /// At most so many lanes at a time, one message of each. Zero is taken as one.
    pub fn in_flight(mut self, lanes: usize) -> Self {
        self.in_flight = lanes.max(1);
        self
    }

    /// Starts to send, on the Tokio runtime that it is called in.
    pub fn start(self) -> Relaying {
        observe::describe_metrics();
        let stop = CancellationToken::new();
        let work = Work {
            outbox: self.idem.outbox(),
            publisher: Arc::new(self.publisher),
            in_flight: self.in_flight,
            held: HashMap::new(),
            stop: stop.clone(),
        };
        Relaying {
            stop,
            task: Some(tokio::spawn(work.run())),
        }
    }
}

/// A relay that runs. Dropped, it stops after what is on its way.
#[derive(Debug)]
#[must_use = "dropped, it stops"]
pub struct Relaying {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Relaying {
    /// Sends nothing more. Waits until what is on its way has arrived, up to the deadline; what has
    /// not is sent again by the next relay.
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

struct Work<P> {
    outbox: Outbox,
    publisher: Arc<P>,
    in_flight: usize,
    /// Lanes whose first message the broker did not take.
    held: HashMap<String, Held>,
    stop: CancellationToken,
}

/// A lane that waits to be tried again.
struct Held {
    pauses: Pauses,
    until: Instant,
}

/// What came of a lane's turn.
struct Turn {
    ordering_key: String,
    sent: Vec<OutboxEntry>,
    error: Option<BrokerError>,
}

impl<P: Publisher> Work<P> {
    async fn run(mut self) {
        loop {
            // Made before the look, so that no hint is missed.
            let filled = self.outbox.changed();
            let again = match self.round().await {
                Ok(again) => again,
                Err(Error::Closed { .. }) => return,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read or written; it will be tried again");
                    None
                }
            };
            let look = Instant::now() + LOOK;
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = filled => {}
                () = tokio::time::sleep_until(again.map_or(look, |again| again.min(look))) => {}
            }
        }
    }

    /// Goes through the outbox once; says when a lane wants to be tried again.
    async fn round(&mut self) -> Result<Option<Instant>, Error> {
        let mut behind = HashSet::new();
        let mut after: Option<OutboxEntry> = None;
        loop {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let page = self.outbox.pending(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            let (lanes, full) = self.ready(page, &mut behind);
            if lanes.is_empty() && full {
                return Ok(None);
            }
            let (publisher, stop) = (&*self.publisher, &self.stop);
            let turns =
                stream::iter(lanes).map(|(lane, messages)| turn(publisher, stop, lane, messages));
            let turns: Vec<Turn> = turns.buffer_unordered(self.in_flight).collect().await;
            let mut all = Vec::new();
            for Turn {
                ordering_key: lane,
                sent,
                error,
            } in turns
            {
                all.extend(sent);
                let failed = error.is_some();
                self.hold(&lane, error);
                if failed {
                    behind.insert(lane);
                }
            }
            if !all.is_empty() {
                self.outbox.acknowledge(&all).await?;
            }
        }
        // A lane that is gone from the outbox was sent by another relay.
        self.held.retain(|lane, _| behind.contains(lane));
        Ok(self.held.values().map(|held| held.until).min())
    }

    /// A page's messages that may go now, by lane, and whether some wait only because so many lanes
    /// are held. Nothing overtakes a message of its lane that is left `behind`.
    fn ready(
        &self,
        page: Vec<OutboxEntry>,
        behind: &mut HashSet<String>,
    ) -> (BTreeMap<String, Vec<OutboxEntry>>, bool) {
        let (mut lanes, mut full, now) = (
            BTreeMap::<String, Vec<OutboxEntry>>::new(),
            false,
            Instant::now(),
        );
        for queued in page {
            let lane = &queued.message.ordering_key;
            let no_room = self.held.len() >= MOST_HELD && !self.held.contains_key(lane);
            if behind.contains(lane)
                || no_room
                || self.held.get(lane).is_some_and(|held| held.until > now)
            {
                full |= no_room;
                behind.insert(lane.clone());
            } else {
                lanes.entry(lane.clone()).or_default().push(queued);
            }
        }
        (lanes, full)
    }

    /// Has a lane wait after an error, and lets it go after none.
    fn hold(&mut self, lane: &str, error: Option<BrokerError>) {
        let Some(error) = error else {
            self.held.remove(lane);
            return;
        };
        let held = self.held.entry(lane.to_owned()).or_insert_with(|| Held {
            pauses: Pauses::up_to(LONGEST),
            until: Instant::now(),
        });
        let pause = held.pauses.next();
        held.until = Instant::now() + pause;
        tracing::warn!(lane, ?pause, %error, "a message could not be sent, and its lane waits");
    }
}

/// Sends a lane's messages one after the other, up to the first that does not go.
async fn turn<P: Publisher>(
    publisher: &P,
    stop: &CancellationToken,
    ordering_key: String,
    messages: Vec<OutboxEntry>,
) -> Turn {
    let mut turn = Turn {
        ordering_key,
        sent: Vec::new(),
        error: None,
    };
    for queued in messages {
        if stop.is_cancelled() {
            break;
        }
        let outgoing = Message {
            id: Some(queued.id.clone()),
            ..Message::from(queued.message.clone())
        };
        let late = |late| Err(BrokerError::new("broker", "confirm a message", late));
        // A publisher may be the user's: the relay outlives its panics.
        let publishing =
            AssertUnwindSafe(async { publisher.publish(outgoing).await }).catch_unwind();
        let panicked = |_| {
            Err(BrokerError::new(
                "broker",
                "publish a message",
                "the publisher panicked",
            ))
        };
        let published = timeout(PATIENCE, publishing)
            .await
            .map_or_else(late, |caught| caught.unwrap_or_else(panicked));
        observe::relayed(&queued.message.destination, published.is_ok());
        match published {
            Ok(()) => turn.sent.push(queued),
            Err(error) => {
                turn.error = Some(error);
                break;
            }
        }
    }
    turn
}

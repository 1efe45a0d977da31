//! Publishes the outbox: each message until the broker confirms it, in order per ordering key.

mod lead;
mod rounds;

use std::time::Duration;

use idem_runtime::{Idem, ledger::LedgerError};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::publish::Publisher;
use lead::Lead;
use rounds::Rounds;

/// The pause after an error of the ledger.
const RETRY: Duration = Duration::from_secs(1);
/// How long a relay may go without renewing its lead.
const TTL: Duration = Duration::from_secs(5);
/// The shortest such time.
const SHORTEST_TTL: Duration = Duration::from_millis(100);
/// How long the ledger has to take the last acknowledgements of a relay that stops.
const GRACE: Duration = Duration::from_secs(1);

/// Publishes the messages in the outbox of an [`Idem`], once [started](Self::start).
///
/// A message is published until the broker confirms it, with its id in the outbox, by which brokers
/// and consumers recognise copies. Messages with the same ordering key are published one after the
/// other, in the order of [`Outbox::pending`]. A message that the broker refuses pauses its own
/// ordering key only.
///
/// A relay may run in every replica. One leads and publishes, the others stand by. A relay that
/// stops passes the lead on at once, and so does one whose broker confirms nothing for as long as
/// the [lease](Self::lease) lasts. One that dies or stalls is followed when its lease lapses.
///
/// Each message is sent once, unless a relay dies or stalls or a broker's confirmation is lost.
/// Then up to 256 messages are sent again.
///
/// The first copies arrive in order per ordering key, whatever dies or stalls: each relay publishes
/// a message only after those before it were confirmed, to itself or to another relay that
/// acknowledged them. A second copy may arrive at any time later, after newer messages, too.
///
/// [`Outbox::pending`]: idem_runtime::outbox::Outbox::pending
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
    ttl: Duration,
}

impl<P: Publisher> Relay<P> {
    /// Creates a relay with 64 ordering keys in flight and a lease of 5 s.
    pub fn new(idem: &Idem, publisher: P) -> Self {
        Self {
            idem: idem.clone(),
            publisher,
            in_flight: 64,
            ttl: TTL,
        }
    }

    /// Sets how many ordering keys are in flight, at least one, with one message each.
    pub fn in_flight(mut self, ordering_keys: usize) -> Self {
        self.in_flight = ordering_keys.max(1);
        self
    }

    /// Sets how long the lead lasts without being renewed, at least 100 ms: so long nothing is sent
    /// after the leading relay died. The leading relay writes it each third of this time, and the
    /// others look at it each sixth. Set the same for all relays on a ledger: one with a shorter
    /// time takes the lead from one that lives.
    pub fn lease(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(SHORTEST_TTL);
        self
    }

    /// Starts to publish, on the current Tokio runtime.
    pub fn start(self) -> Relaying {
        metrics::describe_metrics();
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let worker = Worker {
            lead: Lead::new(&self.idem, self.ttl),
            stop: stop.clone(),
            rounds: Rounds::new(self, stop.clone(), abandon.clone()),
        };
        Relaying {
            stop,
            abandon,
            task: Some(tokio::spawn(worker.run())),
        }
    }
}

/// A running relay. Dropping it stops it after the messages in flight.
#[derive(Debug)]
#[must_use = "the relay stops when this is dropped"]
pub struct Relaying {
    stop: CancellationToken,
    abandon: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Relaying {
    /// Stops publishing, waits up to `deadline` for the messages in flight, and passes the lead on.
    /// The next relay publishes those that were not confirmed. Stop it before closing the [`Idem`],
    /// or the lead has to lapse.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop.cancel();
        let Some(mut task) = self.task.take() else {
            return;
        };
        if timeout(deadline, &mut task).await.is_ok() {
            return;
        }
        self.abandon.cancel();
        if timeout(GRACE, &mut task).await.is_err() {
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
    lead: Lead,
    rounds: Rounds<P>,
    stop: CancellationToken,
}

impl<P: Publisher> Worker<P> {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            // Registered before the outbox is read, so that no change is missed.
            let changed = self.rounds.changed();
            let next = match self.turn().await {
                Ok(next) => next,
                Err(LedgerError::Closed) => return,
                Err(error) => {
                    tracing::warn!(
                        error = format_args!("{error:#}"),
                        "the outbox cannot be read or written; trying again"
                    );
                    self.look_at(RETRY)
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = changed, if self.lead.term().lasts() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
        self.lead.release().await;
    }

    /// Publishes what is in the outbox if this relay leads. Returns when to look again.
    async fn turn(&mut self) -> Result<Instant, LedgerError> {
        // Those of a relay that no longer leads spare the next one a second copy.
        self.rounds.acknowledge().await?;
        if !self.lead.hold().await? {
            return Ok(self.lead.look_at());
        }
        let term = self.lead.term();
        let retry_at = self.lead.hold_during(self.rounds.go(&term)).await?;
        if self.rounds.is_refused() {
            // Another relay's connection may work.
            self.lead.stand_aside().await;
            self.rounds.forget_silence();
        }
        let look_at = self.look_at(self.rounds.poll_after());
        Ok(retry_at.map_or(look_at, |at| at.min(look_at)))
    }

    /// Returns when to look at the outbox again, or sooner at the lead.
    fn look_at(&self, poll_after: Duration) -> Instant {
        self.lead.look_at().min(Instant::now() + poll_after)
    }
}

//! Processes one message, from its decoding to its acknowledgement.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use idem_runtime::clock::BoxFuture;
use idem_runtime::delivery::Refusal;
use idem_runtime::{Delivered, Idem, Verdict};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::circuit_breaker::{CircuitBreaker, LONGEST};
use super::concurrency::Concurrency;
use super::hold::Hold;
use super::ordering::{End, KeyQueues, Turn};
use super::state::Status;
use crate::backoff::Backoff;
use crate::delivery::Delivery;
use crate::error::BrokerError;
use crate::metrics::{self, Outcome};
use crate::publish::KEY_HEADER;

/// How long a broker has to settle a message, and to close a connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Decoder<T> = Arc<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;
pub(super) type KeyFn<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;
/// The user's handler, its error as text.
pub(super) type Handler<T> = Arc<dyn Fn(T) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

pub(super) struct Processor<T> {
    idem: Idem,
    /// The handler's name in dead letters of messages that reached no handler.
    name: String,
    source: String,
    format: Format<T>,
    handler: Handler<T>,
    key_queues: KeyQueues,
    concurrency: Concurrency,
    /// What the consumer does now.
    pub(super) status: Status,
    hold: Hold,
    pub(super) circuit_breaker: CircuitBreaker,
    /// The number of acked messages.
    pub(super) settled: Arc<AtomicU64>,
    abandon: CancellationToken,
}

/// A message's turn if it has an ordering key, or why the key could not be read.
type TurnResult = Result<Option<Turn>, String>;

/// The functions that read a message.
pub(super) struct Format<T> {
    pub(super) decode: Decoder<T>,
    pub(super) ordering_key: Option<KeyFn<T>>,
    /// Reads the idempotency key, which the message's header must not contradict.
    pub(super) key: Option<KeyFn<T>>,
}

/// Why a message becomes a dead letter without an attempt.
enum Unfit<'a> {
    /// What is wrong with its bytes.
    Undecodable(&'a str),
    Refused(&'a Refusal),
}

/// How a delivery is settled with its broker.
enum Settlement {
    Ack(Outcome),
    Retry(Duration),
}

/// What came of a call of the handler.
enum Called {
    /// The message can be settled.
    Ends(Settlement),
    /// It waits: this handler is paused.
    Paused(String),
}

impl From<Settlement> for Called {
    fn from(settlement: Settlement) -> Self {
        Self::Ends(settlement)
    }
}

impl<T: Send + 'static> Processor<T> {
    pub(super) fn new(
        idem: Idem,
        name: String,
        source: String,
        format: Format<T>,
        handler: Handler<T>,
        concurrency: Concurrency,
        abandon: CancellationToken,
    ) -> Self {
        let (stop, status) = (concurrency.stop().clone(), Status::new());
        let hold = Hold::new(idem.clone(), source.clone(), status.clone(), stop);
        Self {
            idem,
            name,
            source,
            format,
            handler,
            key_queues: KeyQueues::default(),
            concurrency,
            status,
            hold,
            circuit_breaker: CircuitBreaker::new(),
            settled: Arc::default(),
            abandon,
        }
    }

    /// Decodes a message and takes its turn at once. The returned future handles and settles it.
    pub(super) fn process<D: Delivery>(
        self: Arc<Self>,
        delivery: D,
    ) -> impl Future<Output = ()> + Send + 'static {
        let decoded = self.decode(delivery.payload());
        let turn = self.turn(decoded.as_ref().ok());
        async move {
            let mut turn = turn;
            let settlement = {
                let handled = self.handle(&delivery, decoded, &mut turn);
                tokio::select! {
                    settlement = handled => Some(settlement),
                    () = report_progress(&delivery, &self.idem, &self.source) => None,
                    () = self.abandon.cancelled() => None,
                }
            };
            let (outcome, end, settled) = match settlement {
                Some(Settlement::Ack(outcome)) => {
                    (outcome, End::Settled, in_time(delivery.ack()).await)
                }
                Some(Settlement::Retry(after)) => (
                    Outcome::Again,
                    End::GivenBack,
                    in_time(delivery.retry(after).boxed()).await,
                ),
                None => (
                    Outcome::GivenBack,
                    End::GivenBack,
                    in_time(delivery.retry(Duration::ZERO).boxed()).await,
                ),
            };
            match settled {
                Err(error) => metrics::log_untold(&self.idem, &self.source, &error),
                Ok(()) if end == End::Settled => drop(self.settled.fetch_add(1, Relaxed)),
                Ok(()) => {}
            }
            metrics::count_delivery(&self.source, outcome);
            if let Ok(Some(turn)) = turn {
                turn.end(end);
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, String> {
        decoded(&self.format.decode, bytes)
    }

    fn turn(&self, message: Option<&T>) -> TurnResult {
        let (Some(ordering_key), Some(message)) = (self.format.ordering_key.as_ref(), message)
        else {
            return Ok(None);
        };
        match catch_unwind(AssertUnwindSafe(|| ordering_key(message))) {
            Ok(key) => Ok(Some(self.key_queues.enter(key))),
            Err(_) => Err("its ordering key cannot be read: `ordered_by` or \
                           `Keyed::ordering_key` panicked"
                .to_owned()),
        }
    }

    /// Refuses a message whose header names another key than its content has.
    fn contradiction<D: Delivery>(&self, delivery: &D, message: &T) -> Option<Refusal> {
        let key = self.format.key.as_ref()?;
        let origin = delivery.origin();
        let (_, named) = origin
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(KEY_HEADER))?;
        let Ok(key) = catch_unwind(AssertUnwindSafe(|| key(message))) else {
            return Some(Refusal::new(
                &self.name,
                "its key cannot be read: `Keyed::key` panicked",
            ));
        };
        let error = || {
            format!("its header `{KEY_HEADER}` names the key `{named}`, and its content `{key}`")
        };
        (key != *named).then(|| Refusal::new(&self.name, error()).key(key.as_str()))
    }

    /// Calls the handler in the message's turn, or buries the message.
    async fn handle<D: Delivery>(
        &self,
        delivery: &D,
        decoded: Result<T, String>,
        turn: &mut TurnResult,
    ) -> Settlement {
        let mut message = match decoded {
            Ok(message) => message,
            Err(error) => {
                let error = format!("cannot be decoded: {error}");
                return self.bury(delivery, Unfit::Undecodable(&error)).await;
            }
        };
        let turn = match turn {
            Ok(turn) => turn.as_mut(),
            Err(error) => {
                let refusal = Refusal::new(&self.name, error.as_str());
                return self.bury(delivery, Unfit::Refused(&refusal)).await;
            }
        };
        if let Some(refusal) = self.contradiction(delivery, &message) {
            return self.bury(delivery, Unfit::Refused(&refusal)).await;
        }
        let keeps_its_turn = turn.is_some();
        let ordering_key = turn.as_ref().map(|turn| turn.key().to_owned());
        if let Some(turn) = turn
            && turn.wait().await == End::GivenBack
        {
            return Settlement::Retry(Duration::ZERO);
        }
        let (mut backoff, mut resumed) = (Backoff::up_to(LONGEST), None);
        // Until the message has run: a probe does not end the pause.
        let mut waits = None;
        loop {
            let called = self
                .call_handler(delivery, ordering_key.as_deref(), message, &mut backoff)
                .await;
            // The next one of those that are held may run.
            drop(resumed.take());
            let after = match called {
                Called::Paused(handler) => {
                    drop(waits.replace(self.hold.waits(&handler)));
                    resumed = self.hold.turn(&handler).await;
                    if resumed.is_none() {
                        return Settlement::Retry(Duration::ZERO);
                    }
                    Duration::ZERO
                }
                Called::Ends(Settlement::Retry(after)) if keeps_its_turn => {
                    drop(waits.take());
                    sleep(after).await;
                    after
                }
                Called::Ends(settlement) => return settlement,
            };
            message = match self.decode(delivery.payload()) {
                Ok(again) => again,
                Err(_) => return Settlement::Retry(after),
            };
        }
    }

    async fn call_handler<D: Delivery>(
        &self,
        delivery: &D,
        ordering_key: Option<&str>,
        message: T,
        backoff: &mut Backoff,
    ) -> Called {
        let Some(_permit) = self.concurrency.acquire().await else {
            return Settlement::Retry(Duration::ZERO).into();
        };
        let origin = match ordering_key {
            Some(key) => delivery.origin().ordering_key(key),
            None => delivery.origin(),
        };
        // A panic is caught inside the delivery, so that the verdict of the calls before it holds.
        let handler = AssertUnwindSafe(async { (self.handler)(message).await }).catch_unwind();
        let Delivered {
            output, verdict, ..
        } = self.idem.deliver_as(&self.name, origin, handler).await;
        let panicked = output.is_err();
        if panicked {
            tracing::error!(
                source = self.source,
                ?verdict,
                "the consumer's handler panicked"
            );
        }
        let settlement = match verdict {
            Verdict::Paused { handler, .. } => return Called::Paused(handler),
            Verdict::Settled => {
                self.circuit_breaker.reset();
                Settlement::Ack(Outcome::Settled)
            }
            // A call that a panic interrupted does not ask for a pause.
            Verdict::Again { after } if panicked => {
                Settlement::Retry(after.max(unrecorded_pause(delivery, backoff)))
            }
            Verdict::Again { after } => Settlement::Retry(after),
            Verdict::Unavailable { error } => {
                let pause = self.circuit_breaker.trip();
                if self
                    .idem
                    .logs("messages that cannot be recorded", &self.source, &error)
                {
                    tracing::error!(
                        source = self.source,
                        error,
                        ?pause,
                        "nothing can be recorded; no messages are taken during the pause"
                    );
                }
                Settlement::Retry(pause)
            }
            Verdict::Refused(refusal) => self.bury(delivery, Unfit::Refused(&refusal)).await,
            // No idempotent handler was called.
            _ => match output.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                Ok(()) => Settlement::Ack(Outcome::Settled),
                Err(error) => {
                    if self
                        .idem
                        .logs("failures without a record", &self.source, &error)
                    {
                        tracing::warn!(
                            source = self.source,
                            error,
                            "the handler failed without a record; the message will be redelivered"
                        );
                    }
                    Settlement::Retry(unrecorded_pause(delivery, backoff))
                }
            },
        };
        settlement.into()
    }

    /// Writes a dead letter for a message that no handler can take.
    ///
    /// It is in a box, as all that few messages come to: what is not would make each message's task larger.
    fn bury<'a, D: Delivery>(
        &'a self,
        delivery: &'a D,
        unfit: Unfit<'a>,
    ) -> BoxFuture<'a, Settlement> {
        self.buried(delivery, unfit).boxed()
    }

    async fn buried<D: Delivery>(&self, delivery: &D, unfit: Unfit<'_>) -> Settlement {
        let (bytes, origin) = (delivery.payload(), delivery.origin());
        // Two messages with one id are two letters; one message delivered twice is one letter.
        let hash = blake3::hash(bytes).to_hex();
        let id = origin.message_id.as_ref().map_or_else(
            || hash[..32].to_owned(),
            |id| format!("{id} {}", &hash[..16]),
        );
        let (error, outcome, buried) = match unfit {
            Unfit::Undecodable(error) => {
                let buried = self.idem.bury(&self.name, &id, bytes, origin, error).await;
                (error, Outcome::Undecodable, buried)
            }
            Unfit::Refused(refusal) => {
                let buried = self.idem.bury_refused(refusal, &id, bytes, origin).await;
                (refusal.error.as_str(), Outcome::Refused, buried)
            }
        };
        match buried {
            Ok(letter) => {
                tracing::warn!(source = self.source, %letter, error, "a message that no handler can take was moved to the dead letters");
                Settlement::Ack(outcome)
            }
            Err(error) => {
                let error = format!("{error:#}");
                if self
                    .idem
                    .logs("messages that cannot be recorded", &self.source, &error)
                {
                    tracing::error!(
                        source = self.source,
                        error,
                        "a dead letter cannot be written; its message will be redelivered"
                    );
                }
                Settlement::Retry(self.circuit_breaker.trip())
            }
        }
    }
}

/// Decodes a message. The decoder is the user's code, and the bytes may come from anywhere.
pub(super) fn decoded<T>(decode: &Decoder<T>, bytes: &[u8]) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(|| decode(bytes)))
        .unwrap_or_else(|_| Err("the decoder panicked".into()))
}

/// Returns the pause of a message without a record, which would count its attempts.
fn unrecorded_pause<D: Delivery>(delivery: &D, backoff: &mut Backoff) -> Duration {
    // It grows with the broker's own count of redeliveries.
    let mut pause = backoff.next();
    for _ in 0..delivery.redelivered().unwrap_or(0).min(16) {
        pause = backoff.next();
    }
    pause
}

/// Tells the broker regularly that the message is in progress. Never returns.
async fn report_progress<D: Delivery>(delivery: &D, idem: &Idem, source: &str) {
    let Some(every) = delivery.progress_every() else {
        return std::future::pending().await;
    };
    let mut ticks = interval_at(Instant::now() + every, every);
    loop {
        ticks.tick().await;
        if let Err(error) = delivery.in_progress().boxed().await {
            metrics::log_untold(idem, source, &error);
            // The connection is gone, and the broker redelivers the message by itself.
            return std::future::pending().await;
        }
    }
}

/// Gives the broker a while to settle a message.
///
/// It is no `async fn`, which would have room for `settled` twice.
fn in_time(
    settled: impl Future<Output = Result<(), BrokerError>>,
) -> impl Future<Output = Result<(), BrokerError>> {
    let late = |late| Err(BrokerError::new("broker", "settle a message", late));
    timeout(PATIENCE, settled).map(move |settled| settled.unwrap_or_else(late))
}

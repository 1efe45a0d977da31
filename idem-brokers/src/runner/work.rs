//! One message, from its decoding to what its broker is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use idem_runtime::{Delivered, Idem, Verdict, delivery::Refusal};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, LONGEST};
use super::lanes::{End, Lanes, Turn};
use super::places::Places;
use super::take::PATIENCE;
use super::{Decode, Handler, Part};
use crate::delivery::Delivery;
use crate::error::BrokerError;
use crate::observe::{self, Outcome};
use crate::pauses::Pauses;
use crate::publish::KEY_HEADER;

/// What a handler returned, its error as text.
pub(super) type Handled = Result<(), String>;

pub(super) struct Work<T> {
    idem: Idem,
    /// The handler's name in letters of messages that no handler took.
    name: String,
    source: String,
    reading: Reading<T>,
    handler: Handler<T>,
    lanes: Lanes,
    places: Places,
    pub(super) gate: Gate,
    /// How many were acked.
    pub(super) settled: Arc<AtomicU64>,
    abandon: CancellationToken,
}

/// A message's place in line where it has one, or why its place is not known.
type Placed = Result<Option<Turn>, String>;

/// What is read of a message.
pub(super) struct Reading<T> {
    pub(super) decode: Decode<T>,
    /// What it has to stay in order with.
    pub(super) order: Option<Part<T>>,
    /// Its key, which its header must not contradict.
    pub(super) key: Option<Part<T>>,
}

/// Why a message is a dead letter without an attempt.
enum Unfit<'a> {
    /// What is wrong with its bytes.
    Undecodable(&'a str),
    Refused(&'a Refusal),
}

/// What the broker is to be told.
enum Told {
    Ack(Outcome),
    Retry(Duration),
}

impl<T: Send + 'static> Work<T> {
    pub(super) fn new(
        idem: Idem,
        name: String,
        source: String,
        reading: Reading<T>,
        handler: Handler<T>,
        places: Places,
        abandon: CancellationToken,
    ) -> Self {
        let (lanes, gate, settled) = (Lanes::default(), Gate::new(), Arc::default());
        Self {
            idem,
            name,
            source,
            reading,
            handler,
            lanes,
            places,
            gate,
            settled,
            abandon,
        }
    }

    /// Decodes a message and takes its turn now; the future does the rest.
    pub(super) fn one<D: Delivery>(
        self: Arc<Self>,
        delivery: D,
    ) -> impl Future<Output = ()> + Send + 'static {
        let decoded = self.decoded(delivery.payload());
        let turn = self.turn(decoded.as_ref().ok());
        async move {
            let mut turn = turn;
            let told = {
                let work = self.work(&delivery, decoded, &mut turn);
                tokio::select! {
                    told = work => Some(told),
                    () = progress(&delivery, &self.source) => None,
                    () = self.abandon.cancelled() => None,
                }
            };
            let (outcome, end, said) = match told {
                Some(Told::Ack(outcome)) => (outcome, End::Done, said(delivery.ack()).await),
                Some(Told::Retry(after)) => (
                    Outcome::Again,
                    End::GaveBack,
                    said(delivery.retry(after)).await,
                ),
                None => (
                    Outcome::GivenBack,
                    End::GaveBack,
                    said(delivery.retry(Duration::ZERO)).await,
                ),
            };
            match said {
                Err(error) => observe::unheard(&self.source, &error),
                Ok(()) if end == End::Done => drop(self.settled.fetch_add(1, Relaxed)),
                Ok(()) => {}
            }
            observe::ended(&self.source, outcome);
            if let Ok(Some(turn)) = turn {
                turn.end(end);
            }
        }
    }

    fn decoded(&self, bytes: &[u8]) -> Result<T, String> {
        // A decoder is the user's, and a message may be anybody's.
        catch_unwind(AssertUnwindSafe(|| (self.reading.decode)(bytes)))
            .unwrap_or_else(|_| Err("the decoder panicked".into()))
    }

    fn turn(&self, message: Option<&T>) -> Placed {
        let (Some(order), Some(message)) = (self.reading.order.as_ref(), message) else {
            return Ok(None);
        };
        match catch_unwind(AssertUnwindSafe(|| order(message))) {
            Ok(lane) => Ok(Some(self.lanes.enter(lane))),
            Err(_) => {
                Err("its order cannot be read: `ordered_by` or `Keyed::lane` panicked".to_owned())
            }
        }
    }

    /// Where its header names another key than its content has.
    fn contradiction<D: Delivery>(&self, delivery: &D, message: &T) -> Option<Refusal> {
        let key = self.reading.key.as_ref()?;
        let origin = delivery.origin();
        let (_, said) = origin
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(KEY_HEADER))?;
        let Ok(key) = catch_unwind(AssertUnwindSafe(|| key(message))) else {
            return Some(Refusal::new(
                &self.name,
                "its key cannot be read: `Keyed::key` panicked",
            ));
        };
        let error =
            || format!("its header `{KEY_HEADER}` names the key `{said}`, and its content `{key}`");
        (key != *said).then(|| Refusal::new(&self.name, error()).key(key.as_str()))
    }

    async fn work<D: Delivery>(
        &self,
        delivery: &D,
        decoded: Result<T, String>,
        turn: &mut Placed,
    ) -> Told {
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
        let keeps_its_place = turn.is_some();
        if let Some(turn) = turn
            && turn.come().await == End::GaveBack
        {
            return Told::Retry(Duration::ZERO);
        }
        let mut pauses = Pauses::up_to(LONGEST);
        loop {
            let after = match self.call(delivery, message, &mut pauses).await {
                Told::Retry(after) if keeps_its_place => after,
                told => return told,
            };
            sleep(after).await;
            message = match self.decoded(delivery.payload()) {
                Ok(again) => again,
                Err(_) => return Told::Retry(after),
            };
        }
    }

    async fn call<D: Delivery>(&self, delivery: &D, message: T, pauses: &mut Pauses) -> Told {
        let Some(_place) = self.places.take().await else {
            return Told::Retry(Duration::ZERO);
        };
        // A panic is caught inside the delivery: whatever the calls before it came to decides, as
        // when it had returned.
        let handler = AssertUnwindSafe(async { (self.handler)(message).await }).catch_unwind();
        let Delivered {
            output, verdict, ..
        } = self
            .idem
            .deliver_as(&self.name, delivery.origin(), handler)
            .await;
        let panicked = output.is_err();
        if panicked {
            tracing::error!(
                source = self.source,
                ?verdict,
                "the consumer's handler panicked"
            );
        }
        match verdict {
            Verdict::Settled => {
                self.gate.open();
                Told::Ack(Outcome::Settled)
            }
            // A call that the panic cut off says nothing of a pause.
            Verdict::Again { after } if panicked => {
                Told::Retry(after.max(unrecorded(delivery, pauses)))
            }
            Verdict::Again { after } => Told::Retry(after),
            Verdict::Unavailable { error } => {
                let pause = self.gate.shut();
                tracing::error!(
                    source = self.source,
                    error,
                    ?pause,
                    "nothing can be recorded; no messages are taken"
                );
                Told::Retry(pause)
            }
            Verdict::Refused(refusal) => self.bury(delivery, Unfit::Refused(&refusal)).await,
            // No handler of idem's was called.
            _ => match output.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                Ok(()) => Told::Ack(Outcome::Settled),
                Err(error) => {
                    tracing::warn!(
                        source = self.source,
                        error,
                        "failed without a record; the message comes again"
                    );
                    Told::Retry(unrecorded(delivery, pauses))
                }
            },
        }
    }

    /// Makes a dead letter of a message that no handler can take.
    async fn bury<D: Delivery>(&self, delivery: &D, unfit: Unfit<'_>) -> Told {
        let (bytes, origin) = (delivery.payload(), delivery.origin());
        // Two messages may carry one id, and both are kept; one message that comes twice is one
        // letter.
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
                tracing::warn!(source = self.source, %letter, error, "a message that no handler can take is a dead letter");
                Told::Ack(outcome)
            }
            Err(error) => {
                tracing::error!(source = self.source, %error, "a dead letter cannot be written; its message comes again");
                Told::Retry(self.gate.shut())
            }
        }
    }
}

/// The pause of a message that no record counts.
fn unrecorded<D: Delivery>(delivery: &D, pauses: &mut Pauses) -> Duration {
    // A broker that counts makes them longer each time.
    let mut pause = pauses.next();
    for _ in 0..delivery.redelivered().unwrap_or(0).min(16) {
        pause = pauses.next();
    }
    pause
}

/// Never ends: the work does.
async fn progress<D: Delivery>(delivery: &D, source: &str) {
    let Some(every) = delivery.progress_every() else {
        return std::future::pending().await;
    };
    let mut ticks = interval_at(Instant::now() + every, every);
    loop {
        ticks.tick().await;
        if let Err(error) = delivery.in_progress().await {
            observe::unheard(source, &error);
            // Without the connection nobody can be told; the message comes again by itself.
            return std::future::pending().await;
        }
    }
}

async fn said(word: impl Future<Output = Result<(), BrokerError>>) -> Result<(), BrokerError> {
    let late = |late| {
        Err(BrokerError::new(
            "broker",
            "say what became of a message",
            late,
        ))
    };
    timeout(PATIENCE, word).await.unwrap_or_else(late)
}

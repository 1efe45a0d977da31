//! One runner over all brokers: takes no more than it can hold, acks only what is durable, and ends
//! in order.

mod gate;
mod lanes;
mod places;
mod take;
mod work;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use idem_runtime::{Idem, clock::BoxFuture, outbox::Keyed};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::delivery::Source;
use crate::observe;
use places::Places;
use take::Taker;
use work::{Handled, Reading, Work};

type Decode<T> = Arc<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;
type Part<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;
type Handler<T> = Arc<dyn Fn(T) -> BoxFuture<'static, Handled> + Send + Sync>;

/// Takes messages from a source and calls a handler for each; to be followed by
/// [`start`](Self::start).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use idem_brokers::{Consumer, testing};
/// use idem_runtime::{Error, idempotent};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct PlaceOrder {
///     order_no: String,
///     customer: String,
/// }
///
/// #[idempotent(name = "orders.place", key = "order.order_no", retry = "redeliver")]
/// async fn place_order(order: PlaceOrder) -> Result<(), Error> {
///     Ok(())
/// }
///
/// let idem = idem_runtime::testing::temporary()?;
/// let orders = testing::Queue::new("orders");
/// orders.publish(r#"{"order_no": "A-1001", "customer": "Ann"}"#);
///
/// let consumer = Consumer::new(&idem, orders.clone())
///     .in_flight(64)
///     .ordered_by(|order: &PlaceOrder| order.customer.clone())
///     .start(place_order);
/// orders.until_empty().await;
/// consumer.stop(Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
#[must_use = "it does nothing before `start`"]
pub struct Consumer<S, T> {
    idem: Idem,
    source: S,
    name: String,
    in_flight: usize,
    prefetch: Option<usize>,
    decode: Decode<T>,
    order: Option<Part<T>>,
    key: Option<Part<T>>,
    redact: Vec<String>,
    keep_unreadable: bool,
}

impl<S: Source, T: Send + 'static> Consumer<S, T> {
    /// A consumer of messages in JSON, 64 in flight. What is wrong with one that cannot be decoded
    /// is said
    /// [without its values](idem_runtime::json::json_problem).
    pub fn new(idem: &Idem, source: S) -> Self
    where
        T: DeserializeOwned,
    {
        Self::decoding(idem, source, |bytes: &[u8]| {
            idem_runtime::json::from_json(bytes)
        })
    }

    /// A consumer of messages in another form. What cannot be decoded becomes a dead letter with
    /// its bytes, and with the decoder's error as it is: let it quote nothing that is secret.
    pub fn decoding<E: Display>(
        idem: &Idem,
        source: S,
        decode: impl Fn(&[u8]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        let decode: Decode<T> =
            Arc::new(move |bytes| decode(bytes).map_err(|error| format!("{error:#}")));
        Self {
            idem: idem.clone(),
            name: source.name(),
            source,
            in_flight: 64,
            prefetch: None,
            decode,
            order: None,
            key: None,
            redact: Vec::new(),
            keep_unreadable: false,
        }
    }

    /// At most so many calls of the handler run at a time. Zero is taken as one.
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = calls.clamp(1, Semaphore::MAX_PERMITS / 2);
        self
    }

    /// At most so many messages are with this consumer at a time: in a call, waiting for one, for
    /// their turn or for their pause. As many as are in flight at least.
    ///
    /// By default one less than twice as many, so that a call that ends never waits for the broker,
    /// and so that a consumer with one in flight takes no message that another could work on. Give
    /// handlers that take long as many as they have in flight.
    pub fn prefetch(mut self, messages: usize) -> Self {
        self.prefetch = Some(messages.min(Semaphore::MAX_PERMITS));
        self
    }

    /// Messages with the same key go one after the other, in the order they came.
    ///
    /// One that failed keeps its place through its pauses, and those behind it wait with it. It
    /// holds within one consumer: of two in one group, each has its own order.
    pub fn ordered_by<K: ToString>(
        mut self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Self {
        self.order = Some(Arc::new(move |message| key(message).to_string()));
        self
    }

    /// One definition for both ends: messages go one after the other in their [ordering keys](Keyed::ordering_key),
    /// and one whose header
    /// [`KEY_HEADER`](crate::KEY_HEADER) names another [key](Keyed::key) than its content has is a dead letter, for its
    /// producer means something else by it than this consumer.
    pub fn keyed(mut self) -> Self
    where
        T: Keyed,
    {
        self.key = Some(Arc::new(T::key));
        self.ordered_by(T::ordering_key)
    }

    /// The handler's name in dead letters of messages that cannot be decoded or whose header
    /// contradicts their content; the source's name by default. A message that a handler refuses
    /// has that handler's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Says which fields are not stored of messages that no handler can take, by the names and
    /// paths of `redact(…)`.
    ///
    /// What the handlers redact that this consumer's messages reach need not be said: it is known
    /// from the first call on, and kept in the ledger. Say it where the very first message on a new
    /// ledger may be malformed, and where the handler's arguments have other names than the
    /// message's fields.
    pub fn redact<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.redact.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Keeps the bytes of messages that are no JSON in their dead letters, although a handler
    /// redacts. Nothing can be redacted in them, so without this only their length and hash are
    /// kept.
    pub fn keep_unreadable(mut self) -> Self {
        self.keep_unreadable = true;
        self
    }

    /// Starts to take messages, on the Tokio runtime that it is called in.
    ///
    /// Before its first call a consumer does not know what its handlers redact: until then, on a
    /// new ledger, a message that no handler can take is kept as it is, unless
    /// [`redact`](Self::redact) says what to hide.
    ///
    /// The handler's `#[idempotent]` call decides what becomes of a message. A handler that makes
    /// none has its message acked when it returns `Ok`; after an `Err` or a panic the message comes
    /// again, without an end: there is no budget without a record.
    pub fn start<F, R, E>(self, handler: impl Fn(T) -> F + Send + Sync + 'static) -> Running
    where
        F: Future<Output = Result<R, E>> + Send + 'static,
        R: Send + 'static,
        E: Display + Send + 'static,
    {
        observe::describe_metrics();
        self.idem.redact_buried(&*self.name, self.redact);
        if self.keep_unreadable {
            self.idem.keep_unreadable(&*self.name);
        }
        let handler: Handler<T> = Arc::new(move |message| {
            let call = handler(message);
            async move { call.await.map(drop).map_err(|error| format!("{error:#}")) }.boxed()
        });
        let state = watch::Sender::new(State::Connecting);
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let (source, reading) = (
            self.source.name(),
            Reading {
                decode: self.decode,
                order: self.order,
                key: self.key,
            },
        );
        let places = Places::new(self.in_flight, stop.clone());
        let work = Work::new(
            self.idem,
            self.name,
            source,
            reading,
            handler,
            places,
            abandon.clone(),
        );
        let (watched, settled) = (state.subscribe(), Arc::clone(&work.settled));
        let prefetch = self
            .prefetch
            .unwrap_or(2 * self.in_flight - 1)
            .max(self.in_flight);
        let taker = Taker::new(self.source, prefetch, work, stop.clone(), state);
        Running {
            stop,
            abandon,
            state: watched,
            settled,
            task: Some(tokio::spawn(taker.run())),
        }
    }
}

/// What a consumer is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It has no connection.
    Connecting,
    /// It takes messages.
    Taking,
    /// It has a connection, and takes nothing for a while, because nothing can be recorded.
    Paused,
    /// It was stopped.
    Stopped,
}

/// A consumer that runs. Dropped, it stops at once and gives back what is under way.
#[derive(Debug)]
#[must_use = "dropped, it stops at once"]
pub struct Running {
    stop: CancellationToken,
    abandon: CancellationToken,
    state: watch::Receiver<State>,
    settled: Arc<AtomicU64>,
    task: Option<JoinHandle<()>>,
}

impl Running {
    /// What it is doing.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// How many messages it has acked since it was started, their result or their dead letter being
    /// durable.
    pub fn settled(&self) -> u64 {
        self.settled.load(Relaxed)
    }

    /// Waits until it takes messages; false when it was stopped before.
    pub async fn taking(&self) -> bool {
        let mut state = self.state.clone();
        let reached = state
            .wait_for(|state| matches!(state, State::Taking | State::Stopped))
            .await;
        reached.is_ok_and(|state| *state == State::Taking)
    }

    /// Takes no more messages, gives back those whose call did not begin, finishes the calls under
    /// way, and gives back what does not end by the deadline: such a call is dropped, which counts
    /// as an attempt whose outcome is unknown.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop.cancel();
        let Some(mut task) = self.task.take() else {
            return;
        };
        if timeout(deadline, &mut task).await.is_err() {
            self.abandon.cancel();
            // Nothing of the user's runs any more, and what is left has deadlines of its own.
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.task.is_some() {
            self.abandon.cancel();
        }
    }
}

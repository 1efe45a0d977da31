//! The consumer's runner, the same for all brokers. It limits how many messages it takes, acks only
//! what is durable, and stops gracefully.

mod circuit_breaker;
mod concurrency;
mod hold;
mod letters;
mod ordering;
mod processor;
mod receiver;
mod running;
mod state;

use std::fmt::Display;
use std::sync::Arc;

use futures_util::FutureExt;
use idem_runtime::outbox::Keyed;
use idem_runtime::{Batches, Idem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::delivery::Source;
use crate::metrics;
use concurrency::Concurrency;
use processor::{Decoder, Format, Handler, KeyFn, Processor};
use receiver::Receiver;
pub use running::Running;
pub use state::State;

/// Takes messages from a source and calls a handler for each, once [started](Self::start).
///
/// | the handler's call | the broker is told |
/// |---|---|
/// | done, replayed, or a dead letter | ack, after the record is durable |
/// | none, because its [handler is paused](idem_runtime::pause) | nothing: the message is held until it may run |
/// | failed with attempts left, `retry = "redeliver"` | redeliver after the pause |
/// | in progress, inline retries included | in progress, as often as the broker expects it |
/// | refused: the key is empty, too long or was used with other content; or reading the key, the ordering key or the arguments panicked | ack, after the message is a dead letter |
/// | none, because the bytes cannot be decoded | the same |
/// | not recorded, because the ledger cannot be written | redeliver; no message is taken meanwhile |
/// | dropped, because the consumer stopped | redeliver |
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
#[must_use = "it does nothing before `start` is called"]
pub struct Consumer<S, T> {
    idem: Idem,
    source: S,
    name: String,
    in_flight: usize,
    prefetch: Option<usize>,
    format: Format<T>,
    redact: Vec<String>,
    keep_unreadable: bool,
}

impl<S: Source, T: Send + 'static> Consumer<S, T> {
    /// Creates a consumer of JSON messages with 64 calls in flight. The dead letter of a message
    /// that cannot be decoded describes the problem
    /// [without the message's values](idem_runtime::json::json_problem).
    pub fn new(idem: &Idem, source: S) -> Self
    where
        T: DeserializeOwned,
    {
        Self::with_decoder(idem, source, |bytes: &[u8]| {
            idem_runtime::json::from_json(bytes)
        })
    }

    /// Creates a consumer of messages in another format. A message that cannot be decoded becomes
    /// a dead letter with its bytes and the decoder's error, which must not quote secrets.
    pub fn with_decoder<E: Display>(
        idem: &Idem,
        source: S,
        decode: impl Fn(&[u8]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        let decode: Decoder<T> =
            Arc::new(move |bytes| decode(bytes).map_err(|error| format!("{error:#}")));
        Self {
            idem: idem.clone(),
            name: source.name(),
            source,
            in_flight: 64,
            prefetch: None,
            format: Format {
                decode,
                ordering_key: None,
                key: None,
            },
            redact: Vec::new(),
            keep_unreadable: false,
        }
    }

    /// Sets how many calls of the handler run at a time, at least one.
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = calls.clamp(1, Semaphore::MAX_PERMITS / 2);
        self
    }

    /// Sets how many messages this consumer holds at a time: in a call, waiting for one, for their
    /// turn or for their pause. It is at least the number of calls in flight.
    ///
    /// The default is `2 * in_flight - 1`: a call that ends does not wait for the broker, and a
    /// consumer with one call in flight takes no message that another could work on. For slow
    /// handlers, set it to the number of calls in flight.
    pub fn prefetch(mut self, messages: usize) -> Self {
        self.prefetch = Some(messages.min(Semaphore::MAX_PERMITS));
        self
    }

    /// Handles messages with the same ordering key one after the other, in the order of arrival.
    ///
    /// A message that failed keeps its place through its pauses, and those behind it wait. The
    /// order holds within one consumer, not across the consumers of a group.
    pub fn ordered_by<K: ToString>(
        mut self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Self {
        self.format.ordering_key = Some(Arc::new(move |message| key(message).to_string()));
        self
    }

    /// Reads keys by the definition that the producer uses, too.
    ///
    /// Messages with the same [ordering key](Keyed::ordering_key) are handled in order. A message
    /// whose header [`KEY_HEADER`](crate::KEY_HEADER) names another [key](Keyed::key) than its
    /// content has becomes a dead letter: its producer and this consumer disagree on its key.
    pub fn keyed(mut self) -> Self
    where
        T: Keyed,
    {
        let key: KeyFn<T> = Arc::new(T::key);
        self.format.key = Some(key);
        self.ordered_by(T::ordering_key)
    }

    /// Sets the handler's name in dead letters of messages that cannot be decoded or whose header
    /// contradicts their content. The default is the source's name. A message that a handler
    /// refuses has that handler's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Redacts fields in the dead letters of messages that no handler can take, by the names and
    /// paths of `redact(…)`.
    ///
    /// The consumer learns from the first call what its handlers redact, and the ledger keeps it.
    /// Call this if the very first message on a new ledger may be malformed, or if the handler's
    /// arguments have other names than the message's fields.
    pub fn redact<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.redact.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Keeps the bytes of messages that are not JSON in their dead letters, even if a handler
    /// redacts. By default only their length and hash are kept then, because their fields cannot be
    /// redacted.
    pub fn keep_unreadable(mut self) -> Self {
        self.keep_unreadable = true;
        self
    }

    /// Starts to take messages, on the current Tokio runtime.
    ///
    /// The handler's `#[idempotent]` call decides how a message is settled. If the handler makes no
    /// such call, its message is acked when it returns `Ok`, and redelivered without a limit after
    /// an `Err` or a panic: without a record, its attempts are not counted.
    ///
    /// On a new ledger, a message that no handler can take is stored unredacted until the first
    /// call, unless [`redact`](Self::redact) lists its fields.
    ///
    /// Until the consumer stops, the dead letters of its source are
    /// [run](idem_runtime::dead_letters::DeadLetters::run) by the handler, and
    /// [published](idem_runtime::dead_letters::DeadLetters::republish) back to the source. What the
    /// service registers with [`Idem::register_handler`] and [`republish`](crate::republish()) goes
    /// first, and a later consumer of the source before an earlier one. A run ends before any body if
    /// the handler's first call is not of the letter's handler; register that one by itself.
    pub fn start<F, R, E>(self, handler: impl Fn(T) -> F + Send + Sync + 'static) -> Running
    where
        F: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize + Send + 'static,
        E: Display + Send + 'static,
    {
        self.start_with((), move |message, ()| handler(message))
    }

    /// [Starts](Self::start) with a handler of many messages (`each = "…"`): those that are to run are
    /// handed to it together.
    ///
    /// Each message is still settled by its own outcome. A batch has at most as many messages as calls
    /// are [in flight](Self::in_flight), and at most one of each ordering key.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use idem_brokers::{Consumer, testing};
    /// use idem_runtime::{Batches, Error, idempotent};
    ///
    /// #[idempotent(name = "orders.place", each = "order_nos")]
    /// async fn place_orders(order_nos: Vec<String>) -> Vec<Result<(), Error>> {
    ///     order_nos.iter().map(|_| Ok(())).collect() // one `INSERT` for all of them
    /// }
    ///
    /// let idem = idem_runtime::testing::temporary()?;
    /// let orders = testing::Queue::new("orders");
    /// orders.publish(r#""A-1001""#);
    /// orders.publish(r#""A-1002""#);
    /// let batches = Batches::new(64, Duration::from_millis(5), place_orders);
    /// let consumer = Consumer::new(&idem, orders.clone()).start_batches(batches);
    /// orders.until_empty().await;
    /// consumer.stop(Duration::from_secs(10)).await;
    /// # Ok(()) }
    /// ```
    pub fn start_batches<R, E>(self, batches: Batches<T, Result<R, E>>) -> Running
    where
        T: Clone,
        R: Serialize + Send + 'static,
        E: Display + Send + 'static,
    {
        self.start_with(batches, async |message, batches: Batches<_, _>| {
            batches.call(message).await
        })
    }

    /// [Starts](Self::start) with state that each call of the handler gets as a clone, after the
    /// message: a pool of connections, a client, an `Arc` of the service.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use idem_brokers::{Consumer, testing};
    /// use idem_runtime::{Error, idempotent};
    ///
    /// struct Shop { /* a pool of connections */ }
    ///
    /// #[idempotent(name = "orders.place", key = "order_no", skip(shop))]
    /// async fn place_order(order_no: String, shop: Arc<Shop>) -> Result<(), Error> {
    ///     Ok(())
    /// }
    ///
    /// let idem = idem_runtime::testing::temporary()?;
    /// let orders = testing::Queue::new("orders");
    /// orders.publish(r#""A-1001""#);
    /// let shop = Arc::new(Shop {});
    /// let consumer = Consumer::new(&idem, orders.clone()).start_with(shop, place_order);
    /// orders.until_empty().await;
    /// consumer.stop(Duration::from_secs(10)).await;
    /// # Ok(()) }
    /// ```
    pub fn start_with<C, F, R, E>(
        self,
        state: C,
        handler: impl Fn(T, C) -> F + Send + Sync + 'static,
    ) -> Running
    where
        C: Clone + Send + Sync + 'static,
        F: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize + Send + 'static,
        E: Display + Send + 'static,
    {
        metrics::describe_metrics();
        self.idem.redact_buried(&*self.name, self.redact);
        if self.keep_unreadable {
            self.idem.keep_unreadable(&*self.name);
        }
        let source = Arc::new(self.source);
        let call = Arc::new(move |message| handler(message, state.clone()));
        let registration = letters::register(
            &self.idem,
            &source,
            self.name.as_str(),
            Arc::clone(&self.format.decode),
            Arc::clone(&call),
        );
        let handler: Handler<T> = Arc::new(move |message| {
            let call = call(message);
            async move { call.await.map(drop).map_err(|error| format!("{error:#}")) }.boxed()
        });
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let processor = Processor::new(
            self.idem,
            self.name,
            source.name(),
            self.format,
            handler,
            Concurrency::new(self.in_flight, stop.clone()),
            abandon.clone(),
        );
        let status = processor.status.clone();
        let (watched, settled) = (status.watch(), Arc::clone(&processor.settled));
        let prefetch = self
            .prefetch
            .unwrap_or(2 * self.in_flight - 1)
            .max(self.in_flight);
        let receiver = Receiver::new(source, prefetch, processor, stop.clone(), status);
        Running {
            stop,
            abandon,
            state: watched,
            settled,
            task: Some(tokio::spawn(async move {
                let _letters = registration;
                receiver.run().await;
            })),
        }
    }
}

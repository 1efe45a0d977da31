//! Messages that go out with a handler's result: written in the same atomic write as the result, sent afterwards by a
//! relay. So there is no order without its event, and no event of an order that failed ([transactional outbox]).
//!
//! [transactional outbox]: https://microservices.io/patterns/data/transactional-outbox.html

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use minicbor::{Decode, Encode};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use crate::call::enqueue;
use crate::codec::millis;
use crate::envelope;
use crate::error::Error;
use crate::idem::{Idem, Inner};
use crate::ledger::{LedgerError, NoteChange};

/// Where its notes stand in the ledger, in the order in which they go out.
const PLACE: &str = "outbox/";

/// A message to be sent.
///
/// ```
/// use idem_runtime::Outgoing;
///
/// let event = Outgoing::new("orders.placed", "A-1001", br#"{"order_no":"A-1001"}"#).in_order_of("customer 7");
/// assert_eq!(event.key, "A-1001");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct Outgoing {
    /// The queue, topic, subject or stream.
    #[n(0)]
    pub destination: String,
    /// The idempotency key that its consumers see.
    #[n(1)]
    pub key: String,
    /// The body.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// Messages of one lane go out one after the other, in the order in which they were enqueued. Its key, unless said.
    #[n(3)]
    pub lane: String,
    /// Sent along.
    #[n(4)]
    pub headers: Vec<(String, String)>,
}

impl Outgoing {
    /// A message, in order with others of its key.
    pub fn new(destination: impl Into<String>, key: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        let key = key.into();
        Self { destination: destination.into(), lane: key.clone(), key, payload: payload.into(), headers: Vec::new() }
    }

    /// A message whose body is JSON.
    ///
    /// # Errors
    /// When the value cannot be turned into JSON.
    pub fn json(
        destination: impl Into<String>,
        key: impl Into<String>,
        body: &impl Serialize,
    ) -> serde_json::Result<Self> {
        Ok(Self::new(destination, key, serde_json::to_vec(body)?))
    }

    /// What it is to stay in order with: a customer, an account.
    #[must_use]
    pub fn in_order_of(mut self, lane: impl Into<String>) -> Self {
        self.lane = lane.into();
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.destination.len() + self.key.len() + self.payload.len() + self.lane.len() + headers
    }
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct Queued {
    /// Stays the same however often it is sent: what brokers and consumers find a second copy by.
    #[n(0)]
    pub id: String,
    /// When it was recorded.
    #[cbor(n(1), with = "millis")]
    pub at: Timestamp,
    /// The message.
    #[n(2)]
    pub message: Outgoing,
}

/// The outbox of one [`Idem`]. A clone is another handle of the same.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// use idem_runtime::{Error, Idem, Outgoing, idempotent};
///
/// #[idempotent(name = "orders.place", key = "order_no", skip(idem))]
/// async fn place_order(order_no: String, idem: &Idem) -> Result<u32, Error> {
///     let event = Outgoing::new("orders.placed", &order_no, order_no.as_bytes());
///     idem.outbox().enqueue(event)?; // goes with the result below, or not at all
///     Ok(42)
/// }
///
/// let idem = Idem::open(folder.path())?;
/// idem.scope(async {
///     place_order("A-1001".into(), &idem).await?;
///     place_order("A-1001".into(), &idem).await // a replay enqueues nothing
/// })
/// .await?;
/// let waiting = idem.outbox().waiting(None, 10).await?;
/// assert_eq!(waiting.len(), 1);
/// assert_eq!(waiting[0].message.destination, "orders.placed");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Outbox {
    idem: Idem,
}

impl Idem {
    /// Its outbox.
    pub fn outbox(&self) -> Outbox {
        Outbox { idem: self.clone() }
    }
}

impl Outbox {
    /// Inside a handler's body: the message goes out when the body's result is recorded, and in the same write. When the
    /// attempt fails, it does not. A function for `existing` may enqueue too: what it finds is recorded as the result,
    /// and the body that would have enqueued does not run.
    ///
    /// # Errors
    /// [`Error::OutsideBody`] where no attempt of this Idem is running, as in a task that the body spawned;
    /// [`Error::OutgoingTooLarge`].
    pub fn enqueue(&self, message: Outgoing) -> Result<(), Error> {
        self.fits(&message)?;
        if enqueue(self.idem.inner(), message) { Ok(()) } else { Err(Error::OutsideBody) }
    }

    /// Outside a handler: it is in the outbox, durably, when this returns. Gives its id.
    ///
    /// # Errors
    /// [`Error::OutgoingTooLarge`]; [`Error::Ledger`] when it cannot be made durable.
    pub async fn send(&self, message: Outgoing) -> Result<String, Error> {
        self.fits(&message)?;
        let inner = self.idem.inner();
        let (id, change) = inner.outbox.sealed(message, inner.clock.now())?;
        inner.ledger.write_notes(vec![change]).await?;
        inner.outbox.ring();
        Ok(id)
    }

    /// Messages that are not sent yet, in the order in which they go out, after one of them (or from the first).
    ///
    /// # Errors
    /// [`Error::Ledger`] when they cannot be read.
    pub async fn waiting(&self, after: Option<&str>, limit: usize) -> Result<Vec<Queued>, Error> {
        let after = after.map(|id| format!("{PLACE}{id}"));
        let notes = self.idem.notes().list(PLACE, after.as_deref(), limit).await?;
        let queued = notes.iter().map(|note| {
            envelope::decode(&note.value).map_err(|error| match error {
                LedgerError::Record { detail } => LedgerError::Record { detail: format!("{}: {detail}", note.key) },
                other => other,
            })
        });
        Ok(queued.collect::<Result<_, _>>()?)
    }

    /// Takes messages out that were sent.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be made durable: they are sent again.
    pub async fn sent(&self, ids: &[String]) -> Result<(), Error> {
        self.idem.notes().write(ids.iter().map(|id| (format!("{PLACE}{id}"), None)).collect()).await
    }

    /// Waits until something was put into it by this process: a hint, beside looking now and then.
    pub fn filled(&self) -> impl Future<Output = ()> + use<> {
        let inner = Arc::clone(self.idem.inner());
        async move { inner.outbox.rung.notified().await }
    }

    fn fits(&self, message: &Outgoing) -> Result<(), Error> {
        let (size, limit) = (message.size(), self.idem.inner().limits.payload);
        if size <= limit {
            return Ok(());
        }
        Err(Error::OutgoingTooLarge { destination: message.destination.clone(), size, limit })
    }
}

/// What gives messages their place in the order.
#[derive(Default)]
pub(crate) struct Sealer {
    /// The last number given out: nanoseconds of the clock, where that goes on.
    last: Mutex<u64>,
    rung: Notify,
}

impl Sealer {
    /// Finds the numbers of an earlier process whose clock was ahead of this one's.
    pub(crate) async fn seed(&self, inner: &Inner) -> Result<(), LedgerError> {
        let mut last = nanoseconds(inner.clock.now());
        loop {
            let ahead = inner.ledger.notes(PLACE, Some(&format!("{PLACE}{last:016x}")), 1000).await?;
            let Some(note) = ahead.last() else { break };
            let number = note.key.get(PLACE.len()..PLACE.len() + 16).map(|number| u64::from_str_radix(number, 16));
            // What is no number is nobody's message.
            let Some(Ok(number)) = number else { break };
            last = number.saturating_add(1);
        }
        *self.last.lock() = last;
        Ok(())
    }

    /// A message as a note with the next number, and its id.
    pub(crate) fn sealed(&self, message: Outgoing, now: Timestamp) -> Result<(String, NoteChange), LedgerError> {
        let number = {
            let mut last = self.last.lock();
            *last = nanoseconds(now).max(last.saturating_add(1));
            *last
        };
        // Replicas on one ledger may come to the same number.
        let id = format!("{number:016x}{:08x}", fastrand::u32(..));
        let value = envelope::encode(&Queued { id: id.clone(), at: now, message })?;
        Ok((id.clone(), (format!("{PLACE}{id}"), Some(value))))
    }

    /// There is something to send.
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

fn nanoseconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_nanosecond()).unwrap_or(0)
}

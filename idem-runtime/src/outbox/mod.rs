//! Messages that go out with a handler's result: written in the same atomic write as the result,
//! sent afterwards by a relay. So there is no order without its event, and no event of an order
//! that failed ([transactional outbox]).
//!
//! [transactional outbox]: https://microservices.io/patterns/data/transactional-outbox.html

mod ordering;
mod sending;

pub use ordering::Keyed;

use std::sync::Arc;

use jiff::Timestamp;
use minicbor::{Decode, Encode};
pub(crate) use sending::Sending;
use serde::Serialize;
use uuid::Uuid;

use crate::call::enqueue;
use crate::error::Error;
use crate::idem::Idem;
use crate::ledger::{LedgerError, Note, NoteChange};
use crate::protocol::encoding;
use crate::protocol::encoding::cbor::millis;

/// Where its notes stand in the ledger, in the order in which they go out. Those of older versions
/// have a place that begins with a time in hexadecimal digits, and go out first.
const PLACES: &str = "outbox/";
/// Where the next one is to stand: behind all that are there when it is recorded.
const NEXT: &str = "outbox/~";

/// A message to be sent.
///
/// ```
/// use idem_runtime::OutboxMessage;
///
/// let event = OutboxMessage::new("orders.placed", "A-1001", br#"{"order_no":"A-1001"}"#).ordering_key("customer 7");
/// assert_eq!(event.key, "A-1001");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct OutboxMessage {
    /// The queue, topic, subject or stream.
    #[n(0)]
    pub destination: String,
    /// The idempotency key that its consumers see.
    #[n(1)]
    pub key: String,
    /// The body.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// Messages of one lane go out one after the other, in the order in which they were recorded:
    /// those of one handler as it enqueued them, and those of several as their results came. Its
    /// key, unless said.
    #[n(3)]
    pub ordering_key: String,
    /// Sent along.
    #[n(4)]
    pub headers: Vec<(String, String)>,
}

impl OutboxMessage {
    /// A message, in order with others of its key.
    pub fn new(
        destination: impl Into<String>,
        key: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        let key = key.into();
        Self {
            destination: destination.into(),
            ordering_key: key.clone(),
            key,
            payload: payload.into(),
            headers: Vec::new(),
        }
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
    pub fn ordering_key(mut self, lane: impl Into<String>) -> Self {
        self.ordering_key = lane.into();
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.destination.len()
            + self.key.len()
            + self.payload.len()
            + self.ordering_key.len()
            + headers
    }
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// Stays the same however often it is sent: what brokers and consumers find a second copy by.
    #[n(0)]
    pub id: String,
    /// When it was given to the outbox.
    #[cbor(n(1), with = "millis")]
    pub at: Timestamp,
    /// The message.
    #[n(2)]
    pub message: OutboxMessage,
    /// Its note's key, which the order goes by.
    #[cbor(skip)]
    place: String,
}

impl OutboxEntry {
    fn of(note: Note) -> Result<Self, LedgerError> {
        match encoding::decode::<Self>(&note.value) {
            Ok(queued) => Ok(Self {
                place: note.key,
                ..queued
            }),
            Err(LedgerError::Record { detail }) => Err(LedgerError::Record {
                detail: format!("{}: {detail}", note.key),
            }),
            Err(other) => Err(other),
        }
    }
}

/// A message's id, which brokers and consumers of all services can tell from others.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// A message as a note.
pub(crate) fn note(
    id: String,
    message: OutboxMessage,
    at: Timestamp,
) -> Result<NoteChange, LedgerError> {
    let value = encoding::encode(&OutboxEntry {
        id,
        at,
        message,
        place: String::new(),
    })?;
    Ok(NoteChange::put(NEXT, value))
}

/// The outbox of one [`Idem`]. A clone is another handle of the same.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// use idem_runtime::{Error, Idem, OutboxMessage, idempotent};
///
/// #[idempotent(name = "orders.place", key = "order_no", skip(idem))]
/// async fn place_order(order_no: String, idem: &Idem) -> Result<u32, Error> {
///     let event = OutboxMessage::new("orders.placed", &order_no, order_no.as_bytes());
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
/// let waiting = idem.outbox().pending(None, 10).await?;
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
    /// Inside a handler's body: the message goes out when the body's result is recorded, and in the
    /// same write. When the attempt fails, it does not. A function for `existing` may enqueue too:
    /// what it finds is recorded as the result, and the body that would have enqueued does not run.
    ///
    /// # Errors
    /// [`Error::OutsideHandler`] where no attempt of this Idem is running, as in a task that the body spawned;
    /// [`Error::OutgoingTooLarge`].
    pub fn enqueue(&self, message: OutboxMessage) -> Result<(), Error> {
        self.fits(&message)?;
        if enqueue(self.idem.inner(), message) {
            Ok(())
        } else {
            Err(Error::OutsideHandler)
        }
    }

    /// Outside a handler: it is in the outbox, durably, when this returns. Gives its id.
    ///
    /// After an error, call it again with the same message: whether or not the first call wrote it,
    /// it goes out as one, with one id. This `Idem` remembers that of the last 1,000 messages whose
    /// call failed or was dropped. After a restart it does not; where that matters,
    /// [`enqueue`](Self::enqueue) in a handler, whose key says whether it was done.
    ///
    /// # Errors
    /// [`Error::OutgoingTooLarge`]; [`Error::Ledger`] when it cannot be made durable, though it may have been written.
    pub async fn send(&self, message: OutboxMessage) -> Result<String, Error> {
        self.fits(&message)?;
        let inner = self.idem.inner();
        let sent = inner.outbox.begin(&message)?;
        if !(sent.again && self.holds(&sent.id).await?) {
            let note = note(sent.id.clone(), message, inner.clock.now())?;
            inner.ledger.write_notes(vec![note]).await?;
        }
        inner.outbox.ring();
        Ok(sent.finish())
    }

    /// Whether a message is in the outbox that an earlier call may have put there.
    async fn holds(&self, id: &str) -> Result<bool, Error> {
        const PAGE: usize = 1000;
        let (ledger, mut after) = (&self.idem.inner().ledger, None::<String>);
        // Answered after the earlier call's write, which nobody may have waited for.
        ledger.write_notes(Vec::new()).await?;
        loop {
            let page = ledger.notes(PLACES, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            after = Some(last.key.clone());
            if page
                .into_iter()
                .any(|note| OutboxEntry::of(note).is_ok_and(|queued| queued.id == id))
            {
                return Ok(true);
            }
        }
    }

    /// Messages that are not sent yet, in the order in which they go out, after one of them (or
    /// from the first). That is the order in which they were recorded: what is recorded later is
    /// never found before what could be read already.
    ///
    /// # Errors
    /// [`Error::Ledger`] when they cannot be read.
    pub async fn pending(
        &self,
        after: Option<&OutboxEntry>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        let notes = self
            .idem
            .notes()
            .list(PLACES, after.map(|queued| &*queued.place), limit)
            .await?;
        Ok(notes
            .into_iter()
            .map(OutboxEntry::of)
            .collect::<Result<_, _>>()?)
    }

    /// Takes messages out that were sent.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be made durable: they are sent again.
    pub async fn acknowledge(&self, messages: &[OutboxEntry]) -> Result<(), Error> {
        self.idem
            .notes()
            .write(
                messages
                    .iter()
                    .map(|entry| NoteChange::delete(&*entry.place))
                    .collect(),
            )
            .await
    }

    /// Waits until something was put into it by this process: a hint, beside looking now and then.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let inner = Arc::clone(self.idem.inner());
        async move { inner.outbox.rung().await }
    }

    fn fits(&self, message: &OutboxMessage) -> Result<(), Error> {
        let (size, limit) = (message.size(), self.idem.inner().limits.payload);
        if size <= limit {
            return Ok(());
        }
        Err(Error::OutgoingTooLarge {
            destination: message.destination.clone(),
            size,
            limit,
        })
    }
}

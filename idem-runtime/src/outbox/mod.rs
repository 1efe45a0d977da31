//! The [transactional outbox]: messages that are written in the same atomic write as a handler's
//! result, and sent afterwards by a relay. An order has its event, and a failed order has none.
//!
//! [transactional outbox]: https://microservices.io/patterns/data/transactional-outbox.html

mod entry;
mod message;
mod ordering;
mod sending;

pub use entry::OutboxEntry;
pub use message::OutboxMessage;
pub use ordering::Keyed;

use std::sync::Arc;

use entry::PLACES;
pub(crate) use entry::{new_id, note};
pub(crate) use sending::Sending;

use crate::call::{self, enqueue};
use crate::delivery::delivery;
use crate::error::Error;
use crate::idem::Idem;
use crate::ledger::LedgerError;
use crate::protocol::NoteChange;

/// The outbox of one [`Idem`]. A clone is another handle to it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// use idem_runtime::{Error, Idem, idempotent, outbox::OutboxMessage};
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
    /// Returns the outbox of this Idem.
    pub fn outbox(&self) -> Outbox {
        Outbox { idem: self.clone() }
    }
}

impl Outbox {
    /// Adds a message inside a handler's body. It is recorded in the same write as the body's
    /// result, and only then sent; if the attempt fails, it is not. A function for `existing` may
    /// enqueue too: the result that it finds is recorded with the message, and the body does not
    /// run.
    ///
    /// # Errors
    /// [`Error::OutsideHandler`] where no attempt of this Idem is running, as in a task that the
    /// body spawned; [`Error::OutboxMessageTooLarge`]. This is the error of calls, so that `?`
    /// takes it into the error of the handler.
    pub fn enqueue(&self, message: OutboxMessage) -> Result<(), Error> {
        self.fits(&message)?;
        if enqueue(self.idem.shared(), message) {
            Ok(())
        } else {
            Err(Error::OutsideHandler)
        }
    }

    /// Adds a message outside a handler, and returns its id. The message is durable when this
    /// returns.
    ///
    /// After an error, call it again with the same message: it is sent once and with one id,
    /// whether or not the first call wrote it. This `Idem` remembers the last 1,000 messages whose
    /// call failed or was dropped, and forgets them at a restart. Where that matters, use
    /// [`enqueue`](Self::enqueue) in a handler, whose key says whether it was done.
    ///
    /// # Errors
    /// [`Error::OutboxMessageTooLarge`]; [`Error::Ledger`] when the message cannot be made durable.
    /// It may have been written all the same.
    pub async fn send(&self, mut message: OutboxMessage) -> Result<String, Error> {
        self.fits(&message)?;
        let shared = self.idem.shared();
        let sent = shared.outbox.begin(&message)?;
        // A call that is made again may be part of another trace, and is the same message.
        let delivered = delivery().and_then(|delivery| delivery.trace());
        message.hand_on(delivered.or_else(call::trace).as_deref());
        if !(sent.again && self.holds(&sent.id).await?) {
            let note = note(sent.id.clone(), message, shared.clock.now())?;
            shared.ledger.write_notes(vec![note], Vec::new()).await?;
        }
        shared.outbox.notify();
        Ok(sent.finish())
    }

    /// Returns whether an earlier call put the message into the outbox.
    async fn holds(&self, id: &str) -> Result<bool, LedgerError> {
        const PAGE: usize = 1000;
        let (ledger, mut after) = (&self.idem.shared().ledger, None::<String>);
        // This write is answered after the earlier call's, whose answer may have been lost.
        ledger.write_notes(Vec::new(), Vec::new()).await?;
        loop {
            let page = ledger.notes(PLACES, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            after = Some(last.key.clone());
            if page
                .into_iter()
                .any(|note| OutboxEntry::from_note(note).is_ok_and(|queued| queued.id == id))
            {
                return Ok(true);
            }
        }
    }

    /// Returns messages that are not sent yet, in the order in which they were recorded, from the
    /// first or after a given one. A message that is recorded later always comes after those that
    /// could be read before.
    ///
    /// # Errors
    /// Returns an error when they cannot be read.
    pub async fn pending(
        &self,
        after: Option<&OutboxEntry>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, LedgerError> {
        let notes = self
            .idem
            .notes()
            .list(PLACES, after.map(|queued| &*queued.place), limit)
            .await?;
        notes.into_iter().map(OutboxEntry::from_note).collect()
    }

    /// Removes sent messages.
    ///
    /// # Errors
    /// Returns an error when the removal cannot be made durable: the messages are sent again.
    pub async fn acknowledge(&self, messages: &[OutboxEntry]) -> Result<(), LedgerError> {
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

    /// Waits until this process adds a message. It is a hint: poll now and then, too.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(self.idem.shared());
        async move { shared.outbox.changed().await }
    }

    pub(crate) fn fits(&self, message: &OutboxMessage) -> Result<(), Error> {
        let (size, limit) = (message.size(), self.idem.shared().limits.payload);
        if size <= limit {
            return Ok(());
        }
        Err(Error::OutboxMessageTooLarge {
            destination: message.destination.clone(),
            size,
            limit,
        })
    }
}

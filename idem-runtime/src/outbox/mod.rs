//! Messages that go out with a handler's result: written in the same atomic write as the result,
//! sent afterwards by a relay. So there is no order without its event, and no event of an order
//! that failed ([transactional outbox]).
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

use crate::call::enqueue;
use crate::error::Error;
use crate::idem::Idem;
use crate::protocol::NoteChange;

/// The outbox of one [`Idem`]. A clone is another handle of the same.
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
        if enqueue(self.idem.shared(), message) {
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
        let shared = self.idem.shared();
        let sent = shared.outbox.begin(&message)?;
        if !(sent.again && self.holds(&sent.id).await?) {
            let note = note(sent.id.clone(), message, shared.clock.now())?;
            shared.ledger.write_notes(vec![note]).await?;
        }
        shared.outbox.notify();
        Ok(sent.finish())
    }

    /// Whether a message is in the outbox that an earlier call may have put there.
    async fn holds(&self, id: &str) -> Result<bool, Error> {
        const PAGE: usize = 1000;
        let (ledger, mut after) = (&self.idem.shared().ledger, None::<String>);
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
                .any(|note| OutboxEntry::from_note(note).is_ok_and(|queued| queued.id == id))
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
            .map(OutboxEntry::from_note)
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
        let shared = Arc::clone(self.idem.shared());
        async move { shared.outbox.changed().await }
    }

    fn fits(&self, message: &OutboxMessage) -> Result<(), Error> {
        let (size, limit) = (message.size(), self.idem.shared().limits.payload);
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

//! Redrive to the broker: a service registers how messages are published, and a letter's message
//! goes back to its source.

use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tracing::Instrument;

use super::registered::{Publisher, publisher};
use super::{DeadLetters, LetterError};
use crate::call::panic;
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::ledger::LedgerError;
use crate::protocol::{DeadLetter, DeadLetterId, LetterState, Origin, RecordId, Step};
use crate::trace;

impl Idem {
    /// Registers how the messages of a place are published, for [`DeadLetters::republish`].
    /// `publish` gets the letter, whose bytes are [`message`](DeadLetter::message), sealed parts
    /// included, and returns once the broker has them. `place` is [`Origin::place`](crate::Origin::place), such as
    /// `rabbitmq:orders`. A later registration replaces an earlier one, and goes before a
    /// [consumer's](Self::register_consumer).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # use std::sync::{Arc, Mutex};
    /// # use idem_runtime::{Idem, Origin};
    /// # let idem = Idem::open(folder.path())?;
    /// # let queue = Arc::new(Mutex::new(Vec::new()));
    /// # let orders = Arc::clone(&queue);
    /// idem.register_publisher("rabbitmq:orders", move |letter| {
    ///     let orders = Arc::clone(&orders);
    ///     async move {
    ///         orders.lock().map_err(|error| error.to_string())?.push(letter.message());
    ///         Ok::<(), String>(())
    ///     }
    /// });
    /// let id = idem.bury("orders.place", "m-17", b"no JSON", Origin::new("rabbitmq", "orders"), "expected ident").await?;
    /// idem.dead_letters().by("ann").republish(&id).await?;
    /// assert_eq!(*queue.lock().unwrap(), [b"no JSON"]);
    /// # Ok(()) }
    /// ```
    pub fn register_publisher<F, E>(
        &self,
        place: impl Into<String>,
        publish: impl Fn(DeadLetter) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        self.shared()
            .publishers
            .insert(place.into(), publisher(publish));
    }

    /// Returns whether a publisher is registered for the place, or a consumer of it has one.
    pub fn can_republish(&self, place: &str) -> bool {
        publisher_of(self.shared(), place).is_some()
    }
}

fn publisher_of(shared: &Shared, place: &str) -> Option<Publisher> {
    let by_consumer = || shared.consumers.publisher(place);
    shared.publishers.get(place).or_else(by_consumer)
}

impl DeadLetters {
    /// Redrives the letter and publishes its message to its source.
    ///
    /// The key is re-armed first, so that the broker cannot deliver the message while it is still
    /// dead. If publishing fails, or this future is dropped, the letter is open again:
    /// [`close`](Idem::close) waits for it. If the process dies in the middle, it is a letter again
    /// after the handler's `ttl`, unless the message has come. If the broker took the message without
    /// confirming it, the message finds an open letter: it does not run, and the letter stays.
    ///
    /// # Errors
    /// [`LetterError::NoSuchLetter`], [`LetterError::LetterClosed`], [`LetterError::Redacted`],
    /// [`LetterError::Sealed`], [`LetterError::Incomplete`], [`LetterError::NoPublisher`],
    /// [`LetterError::NotPublished`], or [`LetterError::Ledger`].
    pub async fn republish(&self, id: &DeadLetterId) -> Result<DeadLetter, LetterError> {
        let letter = self.known(id).await?;
        let id = letter.id;
        if letter.state != LetterState::Open {
            return Err(LetterError::LetterClosed {
                id,
                state: letter.state,
            });
        }
        let missing: Vec<_> = letter.missing().map(str::to_owned).collect();
        if !missing.is_empty() {
            return Err(LetterError::Redacted { id, missing });
        }
        if let Some(size) = letter.cut_off() {
            return Err(LetterError::Incomplete { id, size });
        }
        let place = letter.origin.as_ref().map(Origin::place);
        let publisher = place
            .as_ref()
            .and_then(|place| publisher_of(self.shared(), place));
        let (Some(place), Some(publish)) = (&place, publisher) else {
            return Err(LetterError::NoPublisher { id, place });
        };
        let mut whole = DeadLetter {
            payload: self.opened(&letter, letter.payload.clone())?,
            ..letter.clone()
        };
        let span = trace::span::redrive(&letter);
        if let (Some(origin), Some(redrive)) = (&mut whole.origin, trace::span::of(&span)) {
            origin.headers.retain(|(name, _)| !trace::is_header(name));
            trace::hand_on(Some(&redrive), &mut origin.headers);
        }
        // The ledger is open until the message is published or the letter is open again.
        let _publishing = self.shared().enter().ok_or(LedgerError::Closed)?;
        let record = letter.record_id();
        let by = self.actor(Some("it could not be published".to_owned()));
        // Reopens the letter if this future is dropped or the ledger does not answer from here on.
        let mut unpublished = Unpublished {
            idem: &self.idem,
            record: &record,
            restore: Some(Step::Restore { letter: id, by }),
        };
        let redriven = self
            .act(letter.clone(), self.redriving(&letter))
            .await
            .inspect_err(|error| {
                if matches!(error, LetterError::LetterClosed { .. }) {
                    // Another person has acted on it.
                    unpublished.restore = None;
                }
            })?;
        let publishing = async { publish(whole).await }.instrument(span);
        let publishing = AssertUnwindSafe(publishing).catch_unwind();
        let published = publishing.await.unwrap_or_else(|caught| {
            Err(format!("its publisher panicked: {}", panic::text(&*caught)))
        });
        let restore = unpublished.restore.take();
        if let Err(problem) = published {
            if let Some(Step::Restore { mut by, letter }) = restore {
                by.why = Some(format!("it could not be published: {problem}"));
                put_back(self.shared(), &record, Step::Restore { letter, by }).await;
            }
            return Err(LetterError::NotPublished {
                id,
                place: place.clone(),
                problem,
            });
        }
        if letter.is_buried() {
            // It is buried again, or runs under a key of its own: no call of this key will follow.
            if let Err(error) = self.shared().apply(&record, self.forgetting(&letter)).await {
                tracing::warn!(letter = %id, error = format_args!("{error:#}"), "it is published, and will be a letter again all the same");
            }
        }
        Ok(redriven)
    }
}

/// A letter that is re-armed and not yet published. It is reopened on drop.
struct Unpublished<'a> {
    idem: &'a Idem,
    record: &'a RecordId,
    restore: Option<Step>,
}

impl Drop for Unpublished<'_> {
    fn drop(&mut self) {
        if let Some(restore) = self.restore.take() {
            let (shared, record) = (Arc::clone(self.idem.shared()), self.record.clone());
            self.idem.background().finish(Box::pin(async move {
                put_back(&shared, &record, restore).await;
            }));
        }
    }
}

/// Reopens the letter, unless the message has come.
async fn put_back(shared: &Shared, record: &RecordId, restore: Step) {
    match shared.apply(record, restore).await {
        Ok(_) => shared.count_letters().await,
        Err(error) => tracing::warn!(
            handler = &*record.handler,
            key = &*record.key,
            error = format_args!("{error:#}"),
            "the letter could not be opened again, and will be one after its time to live"
        ),
    }
}

//! Dead letters: messages that wait for a person.

mod watch;

use std::sync::Arc;

pub use watch::Watch;

use crate::error::Error;
use crate::idem::Inner;
use crate::ledger::Filter;
use crate::protocol::{DeadLetter, DeadLetterId, RecordId, Reply, Step};

/// The dead letters of one [`Idem`](crate::Idem): look, redrive, discard, watch.
///
/// ```
/// # use idem_runtime::{Filter, Idem};
/// # async fn at_3_am(idem: Idem) -> Result<(), idem_runtime::Error> {
/// let letters = idem.dead_letters();
/// for letter in letters.list(&Filter::default().handler("orders.place")).await? {
///     println!("{} {} {:?}", letter.key, letter.reason, letter.last_error());
///     letters.redrive(&letter.id).await?; // the next call of this key runs it
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetters {
    inner: Arc<Inner>,
}

impl DeadLetters {
    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// The letters a filter asks for, newest first.
    ///
    /// # Errors
    /// [`Error::Ledger`] when they cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<DeadLetter>, Error> {
        Ok(self.inner.ledger.letters(filter).await?)
    }

    /// One letter, open or closed.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be read.
    pub async fn get(&self, id: &DeadLetterId) -> Result<Option<DeadLetter>, Error> {
        Ok(self.inner.ledger.letter(*id).await?)
    }

    /// Re-arms the letter's key: the next call of it runs the body, with a fresh budget, and with whatever content it
    /// brings. Somebody has to make that call: where the consumer has acked the message, publish it again, from the
    /// letter's payload if need be. The letter stays as history, and is given back as it stands then.
    ///
    /// # Errors
    /// [`Error::NoSuchLetter`], [`Error::LetterClosed`], or [`Error::Ledger`] when it cannot be recorded.
    pub async fn redrive(&self, id: &DeadLetterId) -> Result<DeadLetter, Error> {
        self.close(*id, Step::Redrive { letter: *id }).await
    }

    /// Closes the letter without another run: duplicates of its key still do not run, until the handler's `ttl` has
    /// passed since the discard, as with a result. `why` is for whoever asks later.
    ///
    /// # Errors
    /// [`Error::NoSuchLetter`], [`Error::LetterClosed`], or [`Error::Ledger`] when it cannot be recorded.
    pub async fn discard(&self, id: &DeadLetterId, why: impl Into<String>) -> Result<DeadLetter, Error> {
        self.close(*id, Step::Discard { letter: *id, why: why.into() }).await
    }

    /// Letters as this process writes them, from now on.
    ///
    /// It is a hint, not the truth: what is written before the first poll of a slow reader, or while nobody watches,
    /// is found by [`list`](Self::list).
    pub fn watch(&self) -> Watch {
        Watch::of(self.inner.born.subscribe())
    }

    async fn close(&self, id: DeadLetterId, step: Step) -> Result<DeadLetter, Error> {
        let letter = self.get(&id).await?.ok_or(Error::NoSuchLetter { id })?;
        let record = RecordId { handler: letter.handler.as_str().into(), key: letter.key.as_str().into() };
        let reply = self.inner.apply(&record, step).await.map_err(|problem| Error::Ledger {
            handler: Some(letter.handler),
            key: Some(letter.key),
            problem,
        })?;
        let letter = self.get(&id).await?.ok_or(Error::NoSuchLetter { id })?;
        match reply {
            Reply::Recorded => {
                self.inner.count_letters().await;
                tracing::info!(handler = letter.handler, key = letter.key, letter = %id, state = ?letter.state,
                    "dead letter closed");
                Ok(letter)
            }
            _ => Err(Error::LetterClosed { id, state: letter.state }),
        }
    }
}

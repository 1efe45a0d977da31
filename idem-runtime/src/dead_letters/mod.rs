//! Dead letters: messages that wait for a person.

mod actions;
mod bury;
mod hidden;
mod payload;
mod redaction;
mod registered;
mod republish;
mod rerun;
mod reused;
mod watch;

use std::sync::Arc;

pub(crate) use hidden::Hidden;
pub(crate) use registered::{Publishers, Runners};
pub use rerun::RunOutcome;
pub use watch::Watch;

pub use crate::message::REDACTED;
pub use crate::protocol::{
    Action, ActionKind, Actor, AttemptOutcome, Difference, Holder, PastAttempt, Reason, Reused,
};

use crate::error::Error;
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::ledger::Filter;
use crate::protocol::{DeadLetter, DeadLetterId};

/// The dead letters of one [`Idem`]: look, edit, redrive, run, discard, restore, watch.
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
    idem: Idem,
    who: Option<String>,
    why: Option<String>,
}

impl Idem {
    /// Its dead letters.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.clone())
    }
}

impl DeadLetters {
    fn new(idem: Idem) -> Self {
        Self {
            idem,
            who: None,
            why: None,
        }
    }

    /// The same, in a person's name: their acts are kept in the letters' history.
    #[must_use]
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.who = Some(who.into());
        self
    }

    /// The same, for a reason: it stands in the letters' history beside every act that is given
    /// none of its own.
    ///
    /// ```
    /// # use idem_runtime::{DeadLetterId, Error, Idem};
    /// # async fn again(idem: Idem, id: DeadLetterId) -> Result<(), Error> {
    /// idem.dead_letters().by("ann").why("the bank is back").redrive(&id).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    fn shared(&self) -> &Arc<Shared> {
        self.idem.shared()
    }

    /// The letters a filter asks for, newest first. Those of a handler are also those of the names
    /// that it had before.
    ///
    /// # Errors
    /// [`Error::Ledger`] when they cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<DeadLetter>, Error> {
        let earlier = filter
            .handler
            .as_deref()
            .map(|handler| self.shared().earlier.of(handler))
            .unwrap_or_default();
        let filter = if earlier.is_empty() {
            filter
        } else {
            &filter.clone().or_of(earlier)
        };
        let mut letters = self.shared().ledger.letters(filter).await?;
        letters
            .iter_mut()
            .for_each(|letter| self.with_paths(letter));
        Ok(letters)
    }

    /// One letter, open or closed.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be read.
    pub async fn get(&self, id: &DeadLetterId) -> Result<Option<DeadLetter>, Error> {
        let mut letter = self.shared().ledger.letter(*id).await?;
        letter.iter_mut().for_each(|letter| self.with_paths(letter));
        Ok(letter)
    }

    /// What the handler redacts today holds for a letter of an earlier version of it, too.
    fn with_paths(&self, letter: &mut DeadLetter) {
        let today = self
            .shared()
            .handlers
            .get(&letter.handler)
            .map_or(&[][..], |handler| handler.redact);
        for path in today {
            if letter.redacted.iter().all(|known| known != path) {
                letter.redacted.push((*path).to_owned());
            }
        }
    }

    /// How many letters are open. The ledger keeps the number, so that it costs no listing.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be told.
    pub async fn count_open(&self) -> Result<u64, Error> {
        Ok(self.shared().ledger.open_letters().await?)
    }

    /// Letters as this process writes them, from now on.
    ///
    /// It is a hint, not the truth: what is written before the first poll of a slow reader, or
    /// while nobody watches, is found by [`list`](Self::list).
    pub fn watch(&self) -> Watch {
        Watch::new(self.shared().new_letters.subscribe())
    }
}

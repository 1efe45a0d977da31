//! Dead letters: messages that wait for a decision by a person.

mod actions;
mod bury;
mod consumer;
mod erase;
mod error;
mod hidden;
mod payload;
mod redaction;
mod registered;
mod republish;
mod rerun;
mod reused;
mod sealing;
mod watch;
mod ways;

use std::sync::Arc;

pub use consumer::ConsumerRegistration;
pub(crate) use consumer::Consumers;
pub use erase::{EraseError, Erased};
pub use error::LetterError;
pub(crate) use hidden::Hidden;
pub(crate) use registered::{Publishers, Runners};
pub use rerun::RunOutcome;
pub use watch::Watch;

pub use crate::message::REDACTED;
pub use crate::protocol::{
    Action, ActionKind, Actor, AttemptOutcome, Difference, Holder, PastAttempt, Reason, Reused,
};

use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::ledger::{Filter, LedgerError};
use crate::protocol::{DeadLetter, DeadLetterId};

/// The dead letters of one [`Idem`]: lists, edits, redrives, runs, discards, restores and watches
/// them.
///
/// ```
/// # use idem_runtime::{Filter, Idem};
/// # async fn at_3_am(idem: Idem) -> Result<(), idem_runtime::dead_letters::LetterError> {
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
    /// Returns the dead letters of this Idem.
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

    /// Returns a handle that acts in a person's name, which is kept in each letter's history.
    #[must_use]
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.who = Some(who.into());
        self
    }

    /// Returns a handle that acts for a reason. It is kept in the history with every action that is
    /// not given its own.
    ///
    /// ```
    /// # use idem_runtime::{DeadLetterId, Idem, dead_letters::LetterError};
    /// # async fn again(idem: Idem, id: DeadLetterId) -> Result<(), LetterError> {
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

    /// Returns the letters that a filter selects, newest first. The letters of a handler include
    /// those of its earlier names.
    ///
    /// # Errors
    /// Returns an error when they cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<DeadLetter>, LedgerError> {
        let earlier = filter
            .handler
            .as_deref()
            .map(|handler| self.shared().earlier.get(handler))
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

    /// Returns one letter, open or closed.
    ///
    /// # Errors
    /// Returns an error when it cannot be read.
    pub async fn get(&self, id: &DeadLetterId) -> Result<Option<DeadLetter>, LedgerError> {
        let mut letter = self.shared().ledger.letter(*id).await?;
        letter.iter_mut().for_each(|letter| self.with_paths(letter));
        Ok(letter)
    }

    /// Adds the paths that the handler redacts today to a letter of an earlier version of it.
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

    /// Returns the number of open letters. The ledger keeps the number, so this lists none.
    ///
    /// # Errors
    /// Returns an error when it cannot be read.
    pub async fn count_open(&self) -> Result<u64, LedgerError> {
        self.shared().ledger.open_letters().await
    }

    /// Returns a stream of the letters that this process writes from now on.
    ///
    /// The stream is a hint. [`list`](Self::list) also finds letters that a slow reader missed, or
    /// that were written while there was no reader.
    pub fn watch(&self) -> Watch {
        Watch::new(self.shared().new_letters.subscribe())
    }
}

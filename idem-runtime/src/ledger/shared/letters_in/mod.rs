//! Open letters are in a second ledger too, for a store that may lose what it acknowledged.
//!
//! The store stays the only one that is asked: a record's end and its letter are one write of it, as
//! ever. That write leaves a note, [`unkept_key`], which says that the second ledger lags. The answer
//! waits until the letter is there, and then the note goes. A crash in between leaves the note, and the
//! next process that meets it does the rest.

mod keep;
mod restore;
mod store;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::timeout;

use self::restore::Restoring;
use super::store::{Store, StoreError, StoreErrorKind};
use crate::ledger::{Ledger, LedgerError};
use crate::protocol::{DeadLetter, DeadLetterId, Record};

/// What the keys of the notes begin with that the store's writes leave.
const UNKEPT: &str = "unkept/";
/// How many notes are read at once. Each has a letter, which may be large.
const PAGE: usize = 100;
/// How long the second ledger may hold a sweep up.
const LONGEST: Duration = Duration::from_secs(2);
/// How long the second ledger is left alone by the sweep.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);

/// A [`Store`] whose open letters are in a second ledger too, with the records that are dead with them.
///
/// A letter is in the second ledger before its death is answered. When the store has lost letters, they
/// are put back from there: when it is opened, and while it is open within a sweep of the loss being
/// noticed. People are told of them again, and their messages are dead as before. What a person has
/// closed is only in the store.
///
/// The second ledger keeps them as notes, so any ledger will do. It begins no call, so while it does not
/// answer, letters cannot be written and calls that end in one fail with
/// [`LedgerError::Unavailable`]; all others go on.
///
/// Transactions of the store are not offered: a store that has them lasts by itself.
pub struct LettersIn<S> {
    store: S,
    second: Arc<dyn Ledger>,
    /// What the keys of this ledger's letters begin with in the second one.
    prefix: String,
    restoring: Mutex<Restoring>,
    /// Whether people were told that the second ledger does not answer.
    is_said: AtomicBool,
    /// When the second ledger was swept.
    swept: Mutex<Option<Instant>>,
}

impl<S: Store> LettersIn<S> {
    /// Returns a store with a second ledger for its letters. [`restore`](Self::restore) it before it is
    /// opened.
    ///
    /// All processes of the store need a second ledger, and best the same one: a letter comes back where
    /// its second ledger is opened. Stores that share one have different `name`s.
    pub fn new(store: S, name: &str, second: Arc<dyn Ledger>) -> Self {
        Self {
            store,
            second,
            prefix: format!("letters/{name}/"),
            restoring: Mutex::default(),
            is_said: AtomicBool::new(false),
            swept: Mutex::default(),
        }
    }

    /// Brings letters to the second ledger that a process could not bring there, and puts those back
    /// that the store has lost.
    ///
    /// # Errors
    /// When one of the two does not answer, or refuses.
    pub async fn restore(&self) -> Result<(), StoreError> {
        self.keep_all().await?;
        while self.restore_some().await? {}
        Ok(())
    }

    /// Sweeps the second ledger now and then, as no `Idem` does that on its own: one with leases keeps a
    /// row of each process that has ended. Its closed letters are another ledger's to remove.
    async fn sweep_second(&self, limit: usize) {
        let now = Instant::now();
        {
            let mut swept = self.swept.lock();
            if swept.is_some_and(|at| now - at < BETWEEN_SWEEPS) {
                return;
            }
            *swept = Some(now);
        }
        // What is not done in time, and an error, is left to the next time.
        let _ = timeout(LONGEST, self.second.sweep(limit, Duration::MAX)).await;
    }

    /// Returns the letter's key in the second ledger.
    fn key(&self, letter: DeadLetterId) -> String {
        format!("{}{letter}", self.prefix)
    }
}

/// Returns the key of the note which says that the second ledger lags behind a letter.
fn unkept_key(letter: DeadLetterId) -> String {
    format!("{UNKEPT}{letter}")
}

/// A letter as the second ledger keeps it: the length of the record, the record, and the letter.
struct Kept {
    record: Record,
    letter: DeadLetter,
}

fn encode(record: &[u8], letter: &DeadLetter) -> Result<Vec<u8>, StoreError> {
    let letter = letter.encode().map_err(refused)?;
    let length = u32::try_from(record.len()).map_err(refused)?;
    Ok([&length.to_be_bytes(), record, &letter].concat())
}

impl Kept {
    fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let too_short = || refused("a letter in the second ledger is cut off");
        let (length, rest) = value.split_first_chunk().ok_or_else(too_short)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(refused)?;
        let (record, letter) = rest.split_at_checked(length).ok_or_else(too_short)?;
        Ok(Self {
            record: Record::decode(record).map_err(refused)?,
            letter: DeadLetter::decode(letter).map_err(refused)?,
        })
    }
}

fn refused(error: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, error.to_string())
}

/// Says of an error of the second ledger that the store's write may have taken place.
fn unkept(error: LedgerError) -> StoreError {
    let message = "the ledger of the letters does not have a letter yet";
    StoreError::new(StoreErrorKind::Lost, message).source(error)
}

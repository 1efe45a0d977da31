//! Small durable values beside the records: what the programs around idem have to remember with the
//! same care.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::Error;
use crate::ledger::{Ledger, LedgerError};
use crate::protocol::DeadLetterId;

/// The longest key of a note, in bytes, its number included.
const LONGEST: usize = 200;
/// At the end of a key, it asks for a number.
pub(crate) const NUMBERED: &str = "/~";
/// How many digits a number has.
const DIGITS: usize = 16;

/// A value under a key. Which keys there are is up to whoever writes them; each begins with its
/// owner's word and a slash.
///
/// A note that is written under a key that ends in `/~` gets a number behind it, in 16 hexadecimal
/// digits, when it is recorded: `jobs/~` becomes `jobs/~00000000000004d2`. The number is larger
/// than that of every such note that could be read before, and grows within one write from note to
/// note. So such notes are a queue: who reads them in their order, each time after the last one
/// read, never finds one behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// At most 200 bytes.
    pub key: String,
    /// What stands there.
    pub value: Vec<u8>,
}

/// A key, and what is to stand there; nothing removes it.
pub type NoteChange = (String, Option<Vec<u8>>);

/// Refuses keys that are too long, for those who write a ledger. What is there under such a key can
/// still be removed.
///
/// # Errors
/// [`LedgerError::KeyTooLong`] for the first of them.
pub fn check_keys(changes: &[NoteChange]) -> Result<(), LedgerError> {
    let length = |key: &str| key.len() + if key.ends_with(NUMBERED) { DIGITS } else { 0 };
    match changes
        .iter()
        .find(|(key, value)| value.is_some() && length(key) > LONGEST)
    {
        Some((key, _)) => Err(LedgerError::KeyTooLong {
            key: key.chars().take(40).collect(),
            length: length(key),
            limit: LONGEST,
        }),
        None => Ok(()),
    }
}

/// The key that a change is made under, for those who write a ledger: with the next number where it
/// asks for one. The number is taken inside the critical section that the change is recorded in.
pub fn place_of(change: &NoteChange, next: impl FnOnce() -> u64) -> Cow<'_, str> {
    match change {
        (key, Some(_)) if key.ends_with(NUMBERED) => format!("{key}{:0DIGITS$x}", next()).into(),
        (key, _) => key.into(),
    }
}

/// The number in a key, if it has one.
pub(crate) fn number_of(key: &str) -> Option<u64> {
    let (_, digits) = key.rsplit_once(NUMBERED)?;
    (digits.len() == DIGITS).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// The key of the note that a ledger writes together with each letter, and that goes with the
/// letter at the latest: nobody has been told of it. Whoever tells people removes it in the write
/// that records the telling.
pub fn unnotified_key(letter: DeadLetterId) -> String {
    format!("untold/{letter}")
}

/// The notes of one [`Idem`](crate::Idem): where monitors keep what they have told of, and
/// dashboards who did what.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let idem = idem_runtime::Idem::open(folder.path())?;
/// let notes = idem.notes();
/// notes.write(vec![("reports/last".into(), Some(b"2026-11-22".to_vec()))]).await?;
/// assert_eq!(notes.list("reports/", None, 10).await?[0].value, b"2026-11-22");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Notes {
    ledger: Arc<dyn Ledger>,
}

impl Notes {
    pub(crate) fn of(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger }
    }

    /// Up to `limit` notes whose keys begin with `prefix`, after one (or from the first), in the
    /// order of their keys' bytes.
    ///
    /// # Errors
    /// [`Error::Ledger`] when they cannot be read.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Note>, Error> {
        Ok(self.ledger.notes(prefix, after, limit).await?)
    }

    /// One note's value.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let first = self.list(key, None, 1).await?.pop();
        Ok(first.filter(|note| note.key == key).map(|note| note.value))
    }

    /// Writes and removes notes, all of it or nothing; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Ledger`] when a key is too long, or when it cannot be made durable: then it may have been written all the
    /// same.
    pub async fn write(&self, changes: Vec<NoteChange>) -> Result<(), Error> {
        Ok(self.ledger.write_notes(changes).await?)
    }
}

//! The handle of a ledger's notes: what the programs around idem remember as durably as records.

mod lease;

use std::sync::Arc;

pub use lease::NoteLease;

use crate::idem::Idem;
use crate::ledger::{Ledger, LedgerError};
pub use crate::protocol::{ExpectedNote, Note, NoteChange};

/// The notes of one [`Idem`]: where a monitor keeps what it has notified of, and a
/// dashboard its audit log.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let idem = idem_runtime::Idem::open(folder.path())?;
/// # use idem_runtime::ledger::NoteChange;
/// let notes = idem.notes();
/// notes.write(vec![NoteChange::put("reports/last", "2026-11-22")]).await?;
/// assert_eq!(notes.list("reports/", None, 10).await?[0].value, b"2026-11-22");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Notes {
    ledger: Arc<dyn Ledger>,
}

impl Idem {
    /// Its notes: small durable values for the programs around idem.
    pub fn notes(&self) -> Notes {
        Notes::new(Arc::clone(&self.shared().ledger))
    }
}

impl Notes {
    fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger }
    }

    /// Returns up to `limit` notes whose keys begin with `prefix`, after a key (or from the first), in
    /// the order of their keys' bytes.
    ///
    /// # Errors
    /// Returns an error when they cannot be read.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Note>, LedgerError> {
        self.ledger.notes(prefix, after, limit).await
    }

    /// Returns one note's value.
    ///
    /// # Errors
    /// Returns an error when it cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let first = self.list(key, None, 1).await?.pop();
        Ok(first.filter(|note| note.key == key).map(|note| note.value))
    }

    /// Makes all changes or none. They are durable when this returns.
    ///
    /// # Errors
    /// Returns an error when a key is too long, or when they cannot be made durable: then they may
    /// have been written all the same.
    pub async fn write(&self, changes: Vec<NoteChange>) -> Result<(), LedgerError> {
        self.ledger.write_notes(changes, Vec::new()).await.map(drop)
    }

    /// Makes all changes if every `expected` note is as expected, and returns whether it did. No
    /// other write, of any process, comes between the comparison and the changes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let idem = idem_runtime::testing::temporary()?;
    /// use idem_runtime::notes::{ExpectedNote, NoteChange};
    /// let notes = idem.notes();
    /// let first = vec![NoteChange::put("reports/next", "1")];
    /// let unwritten = vec![ExpectedNote::absent("reports/next")];
    /// assert!(notes.write_if(first.clone(), unwritten.clone()).await?);
    /// assert!(!notes.write_if(first, unwritten).await?); // another was first
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`write`](Self::write): after an error, read the notes to see which it was.
    pub async fn write_if(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, LedgerError> {
        self.ledger.write_notes(changes, expected).await
    }
}

//! Small durable values beside the records: what the programs around idem have to remember with the same care.

use std::sync::Arc;

use super::Ledger;
use crate::error::Error;
use crate::protocol::DeadLetterId;

/// A value under a key. Which keys there are is up to whoever writes them; each begins with its owner's word and a
/// slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// At most 200 bytes.
    pub key: String,
    /// What stands there.
    pub value: Vec<u8>,
}

/// A key, and what is to stand there; nothing removes it.
pub type NoteChange = (String, Option<Vec<u8>>);

/// The key of the note that a ledger writes together with each letter, and that goes with the letter at the latest:
/// nobody has been told of it. Whoever tells people removes it in the write that records the telling.
pub fn untold(letter: DeadLetterId) -> String {
    format!("untold/{letter}")
}

/// The notes of one [`Idem`](crate::Idem): where monitors keep what they have told of, and dashboards who did what.
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

    /// Up to `limit` notes whose keys begin with `prefix`, after one (or from the first), in the order of their keys'
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Ledger`] when they cannot be read.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Note>, Error> {
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
    /// [`Error::Ledger`] when it cannot be made durable.
    pub async fn write(&self, changes: Vec<NoteChange>) -> Result<(), Error> {
        Ok(self.ledger.write_notes(changes).await?)
    }
}

//! The ledger that is written.

use idem_runtime::ledger::{ExpectedNote, Import, Imported, Note, NoteChange};

use crate::problem::Problem;

/// A ledger that a migration fills.
pub(super) trait Target {
    /// Whether no other process can use it meanwhile.
    const IS_HELD: bool;
    /// Returns where an empty one is to be had.
    fn elsewhere(&self) -> &'static str;

    /// Writes each of these where there is nothing. As many numbers are set aside for them, from `first`
    /// on.
    async fn write(&self, items: Vec<Import>, first: u64) -> Result<Vec<Imported>, Problem>;

    /// Sets numbers aside, and returns the first.
    async fn reserve(&self, count: u64) -> Result<u64, Problem>;

    async fn open_letters(&self) -> Result<u64, Problem>;

    /// Returns notes whose keys begin so, behind a key.
    async fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Note>, Problem>;

    /// Changes notes if others are as expected, and returns whether they are.
    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, Problem>;

    /// Says that no more comes.
    async fn close(&self) -> Result<(), Problem>;

    async fn note(&self, key: &str) -> Result<Option<Vec<u8>>, Problem> {
        let note = self.notes(key, None, 1).await?.pop();
        Ok(note.filter(|note| note.key == key).map(|note| note.value))
    }
}

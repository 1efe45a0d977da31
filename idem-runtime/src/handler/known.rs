//! The names of the handlers of a ledger. A note for each keeps it, so that a program without the
//! handlers, as the one that a person pauses them with, knows a name from a typo.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::after;
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::ledger::{Ledger, LedgerError};
use crate::protocol::NoteChange;

/// The prefix of the notes.
const NOTES: &str = "handlers/";
/// How many notes are read at a time.
const PAGE: usize = 256;
/// A process that ends sooner writes none: programs that look, and tests that count writes.
const SETTLED: Duration = Duration::from_secs(30);

/// The names that have a note, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct KnownHandlers(tokio::sync::Mutex<BTreeSet<String>>);

impl KnownHandlers {
    /// Records the handlers that have no note yet.
    pub(crate) async fn record(
        &self,
        ledger: &dyn Ledger,
        called: Vec<Arc<str>>,
    ) -> Result<(), LedgerError> {
        let mut noted = self.0.lock().await;
        if called.iter().all(|name| noted.contains(&**name)) {
            return Ok(());
        }
        *noted = read(ledger).await?;
        let new = called.iter().filter(|name| !noted.contains(&***name));
        let new: Vec<_> = new.map(ToString::to_string).collect();
        if new.is_empty() {
            return Ok(());
        }
        let changes = new
            .iter()
            .map(|name| note(name))
            .collect::<Result<_, _>>()?;
        ledger.write_notes(changes, Vec::new()).await?;
        noted.extend(new);
        Ok(())
    }
}

impl Idem {
    /// Returns the names of the ledger's handlers, in order: those that a process has called, under
    /// today's names, and those that this one has [registered](Self::register_handler).
    ///
    /// A name is in the ledger, for other processes too, half a minute after the process that calls it
    /// has opened the ledger.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn handlers(&self) -> Result<Vec<String>, LedgerError> {
        let shared = self.shared();
        let mut names = read(&*shared.ledger).await?;
        names.retain(|name| !shared.earlier.is_earlier(name));
        names.extend(shared.runners.names());
        names.extend(shared.handlers.names().iter().map(ToString::to_string));
        Ok(names.into_iter().collect())
    }
}

impl Shared {
    /// Records the handlers that were called here and have no note yet.
    pub(crate) async fn record_handlers(&self) {
        if self.clock.now() < after(self.opened, SETTLED) {
            return;
        }
        let called = self.handlers.names();
        if let Err(error) = self.known.record(&*self.ledger, called).await {
            tracing::debug!(
                error = format_args!("{error:#}"),
                "the handlers' names will be recorded again"
            );
        }
    }
}

/// Returns the note of a name, which may be longer than a note's key.
fn note(name: &str) -> Result<NoteChange, LedgerError> {
    let key = format!("{NOTES}{}", &blake3::hash(name.as_bytes()).to_hex()[..32]);
    let value = serde_json::to_vec(name).map_err(|error| LedgerError::Other(error.to_string()))?;
    Ok(NoteChange::put(key, value))
}

async fn read(ledger: &dyn Ledger) -> Result<BTreeSet<String>, LedgerError> {
    let (mut names, mut after) = (BTreeSet::new(), None);
    loop {
        let notes = ledger.notes(NOTES, after.as_deref(), PAGE).await?;
        // A note that does not parse was written by a later version.
        let read = |value: &[u8]| serde_json::from_slice::<String>(value).ok();
        names.extend(notes.iter().filter_map(|note| read(&note.value)));
        match notes.into_iter().next_back() {
            Some(last) => after = Some(last.key),
            None => return Ok(names),
        }
    }
}

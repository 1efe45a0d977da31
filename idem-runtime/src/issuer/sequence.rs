//! Sequence numbers, taken from the ledger in blocks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ledger::{Ledger, LedgerError};
use crate::protocol::note::NUMBERED;
use crate::protocol::{ExpectedNote, NoteChange};

/// The prefix of the notes with the names of issuers.
pub(super) const ISSUERS: &str = "issuers/";
/// The size of a block. A process that ends leaves the rest of its block unused.
const BLOCK: u64 = 100;

/// The blocks of this process, by issuer.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    blocks: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<Block>>>>,
    /// Issuers whose names are recorded.
    named: Mutex<HashSet<Arc<str>>>,
}

#[derive(Debug, Default)]
struct Block {
    scope: String,
    next: u64,
    end: u64,
}

impl Sequences {
    /// Records the name of an issuer, once a process.
    pub(crate) async fn name(
        &self,
        ledger: &dyn Ledger,
        issuer: &Arc<str>,
    ) -> Result<(), LedgerError> {
        if !self.named.lock().contains(issuer) {
            ledger
                .write_notes(
                    vec![NoteChange::put(format!("{ISSUERS}{issuer}"), [])],
                    Vec::new(),
                )
                .await?;
            self.named.lock().insert(Arc::clone(issuer));
        }
        Ok(())
    }

    /// Returns the next number. Its block is recorded before it is used, so no restart returns it
    /// again.
    pub(crate) async fn next(
        &self,
        ledger: &dyn Ledger,
        issuer: &Arc<str>,
        scope: &str,
    ) -> Result<u64, LedgerError> {
        let block = Arc::clone(self.blocks.lock().entry(Arc::clone(issuer)).or_default());
        let mut block = block.lock().await;
        if block.scope != scope || block.next >= block.end {
            let (last, end) = reserve(ledger, &place(issuer, scope)).await?;
            *block = Block {
                scope: scope.to_owned(),
                next: last + 1,
                end: end + 1,
            };
        }
        let next = block.next;
        block.next += 1;
        Ok(next)
    }

    /// Gives up the rest of a block after one of its keys was taken.
    pub(crate) fn taken(&self, issuer: &str) {
        if let Some(block) = self.blocks.lock().get(issuer)
            && let Ok(mut block) = block.try_lock()
        {
            block.end = block.next;
        }
    }
}

/// Takes the next block of a sequence: the numbers after the first that is returned, up to the
/// second.
async fn reserve(ledger: &dyn Ledger, place: &str) -> Result<(u64, u64), LedgerError> {
    loop {
        let found = ledger.notes(place, None, 1).await?.pop();
        let found = found.filter(|note| note.key == place);
        let (last, expected) = match found {
            None => (0, ExpectedNote::absent(place)),
            Some(note) => (
                number(&note.value, place)?,
                ExpectedNote::value(place, note.value),
            ),
        };
        let end = last.saturating_add(BLOCK);
        let block = NoteChange::put(place, end.to_string());
        // Else another replica took this block.
        if ledger.write_notes(vec![block], vec![expected]).await? {
            return Ok((last, end));
        }
    }
}

/// Returns the key of the note with the last number of a scope. A note's key is short and cannot
/// end like a numbered one; a scope that does not fit is hashed.
fn place(issuer: &str, scope: &str) -> String {
    let place = format!("sequences/{issuer}/{scope}");
    if place.len() <= 150 && !place.ends_with(NUMBERED) {
        place
    } else {
        format!("sequences/{}", blake3::hash(place.as_bytes()).to_hex())
    }
}

fn number(value: &[u8], place: &str) -> Result<u64, LedgerError> {
    let text = String::from_utf8_lossy(value);
    text.parse().map_err(|_| LedgerError::Record {
        detail: format!("the note {place} is not a number: {text}"),
    })
}

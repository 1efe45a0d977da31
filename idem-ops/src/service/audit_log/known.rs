//! What has been read of the audit log, and what other replicas have written since.

use std::time::Duration;

use idem_runtime::clock::Timestamp;
use idem_runtime::json::from_json;
use idem_runtime::ledger::LedgerError;
use idem_runtime::notes::{ExpectedNote, Note, Notes};
use idem_runtime::{DeadLetterId, Idem};
use uuid::Uuid;

use super::{AuditLog, PREFIX};
use crate::service::audit::{AuditEntry, Outcome};

/// The note of the last entry's id. Each write of entries expects it as it was read, so that ids
/// grow across replicas, and a reader that goes on after the last id it knows misses none.
pub(super) const HEAD: &str = "audit-head/last";
/// The number of notes that are read at once.
const READ: usize = 500;
/// How long another replica's action is waited for; later the scan of the index finds its change.
const BEGUN: Duration = Duration::from_secs(600);

/// What has been read of the log.
#[derive(Default)]
pub(super) struct Known {
    /// The ids of all entries, in order, once they have been read; 16 bytes each.
    pub(super) ids: Vec<Uuid>,
    /// The note [`HEAD`] when they were read; `None` before the first time.
    pub(super) head: Option<ExpectedNote>,
    /// Letters of entries of other replicas, and since when an entry is known to have begun.
    changed: Vec<DeadLetterId>,
    begun: Vec<(Uuid, DeadLetterId, Timestamp)>,
}

impl Known {
    /// Reads the entries that other replicas have written since the last time, all of them at
    /// first. Returns what [`HEAD`] was before.
    pub(super) async fn catch_up(&mut self, idem: &Idem) -> Result<ExpectedNote, LedgerError> {
        let (notes, now) = (idem.notes(), idem.clock().now());
        // Read before the entries: one that is written meanwhile is met now or the next time.
        let head = read_head(&notes).await?;
        if self.head.as_ref() == Some(&head) {
            return Ok(head);
        }
        let mut after = self.ids.last().map(|id| format!("{PREFIX}{id}"));
        loop {
            let page = notes.list(PREFIX, after.as_deref(), READ).await?;
            for note in &page {
                let Some(id) = id_of(note) else { continue };
                self.ids.push(id);
                let Ok(entry) = from_json::<AuditEntry>(&note.value) else {
                    continue;
                };
                match (entry.letter, entry.outcome) {
                    (Some(letter), Outcome::Begun) => self.begun.push((id, letter, now)),
                    // The index is read after the first time.
                    (Some(letter), _) if self.head.is_some() => self.changed.push(letter),
                    _ => {}
                }
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.key),
                None => break,
            }
        }
        self.head = Some(head.clone());
        Ok(head)
    }
}

impl AuditLog {
    /// Reads the log for the first time, so that later changes are known.
    pub(in crate::service) async fn follow(&self) -> Result<(), LedgerError> {
        let mut known = self.known.lock().await;
        known.catch_up(&self.idem).await.map(drop)
    }

    /// Returns the letters that other replicas may have changed since the last time.
    pub(in crate::service) async fn changed_elsewhere(
        &self,
    ) -> Result<Vec<DeadLetterId>, LedgerError> {
        let (notes, now) = (self.idem.notes(), self.idem.clock().now());
        let mut known = self.known.lock().await;
        known.catch_up(&self.idem).await?;
        let mut still = Vec::new();
        for (id, letter, since) in &known.begun {
            let value = notes.get(&format!("{PREFIX}{id}")).await?;
            let entry = value.and_then(|value| from_json::<AuditEntry>(&value).ok());
            let waited = Duration::try_from(now.duration_since(*since)).unwrap_or_default();
            if waited < BEGUN && entry.is_some_and(|entry| entry.outcome == Outcome::Begun) {
                still.push((*id, *letter, *since));
            }
        }
        let begun = std::mem::replace(&mut known.begun, still);
        let mut changed = std::mem::take(&mut known.changed);
        changed.extend(begun.into_iter().map(|(_, letter, _)| letter));
        Ok(changed)
    }
}

pub(super) async fn read_head(notes: &Notes) -> Result<ExpectedNote, LedgerError> {
    Ok(match notes.get(HEAD).await? {
        Some(id) => ExpectedNote::value(HEAD, id),
        None => ExpectedNote::absent(HEAD),
    })
}

pub(super) fn id_of(note: &Note) -> Option<Uuid> {
    note.key.strip_prefix(PREFIX)?.parse().ok()
}

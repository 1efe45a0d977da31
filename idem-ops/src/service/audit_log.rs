//! Reads and writes the audit log: notes whose keys sort in the order of the actions.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::NoteChange;
use idem_runtime::{
    DeadLetter, DeadLetterId, Idem,
    clock::Timestamp,
    json::{from_json, json_problem},
};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::{ContextV7, Uuid};

use super::audit::{AuditAction, AuditEntry, AuditPage, Outcome, PageQuery};
use super::error::ServiceError;
use super::letters::{LONGEST_PAGE, PAGE};

const PREFIX: &str = "audit/";
/// The number of notes that are read at once.
const READ: usize = 500;
/// How long an entry is kept: for a quarter's review, and longer than closed letters.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The number of entries that are removed at once.
const PRUNED: usize = 200;

/// The audit log of one ledger.
pub(super) struct AuditLog {
    idem: Idem,
    context: Mutex<ContextV7>,
    /// The ids of all entries, in order, once they have been read; 16 bytes each.
    ids: tokio::sync::Mutex<Option<Vec<Uuid>>>,
    /// Held while an action and its entry are written, so that the log has the actions' order.
    order: Arc<tokio::sync::Mutex<()>>,
}

/// An entry that is not written yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) who: String,
    pub(super) why: Option<String>,
    pub(super) letter: Option<DeadLetterId>,
    pub(super) handler: Option<String>,
    pub(super) key: Option<String>,
    pub(super) bulk: Option<Uuid>,
    /// Whether the action is done in the same write.
    pub(super) done: bool,
}

impl Draft {
    /// Describes an action on a letter.
    pub(super) fn new(who: &str, why: Option<&str>, letter: &DeadLetter) -> Self {
        Self {
            who: who.to_owned(),
            why: why.map(str::to_owned),
            letter: Some(letter.id),
            handler: Some(letter.handler.clone()),
            key: Some(letter.key.clone()),
            bulk: None,
            done: false,
        }
    }
}

impl AuditLog {
    pub(super) fn new(idem: Idem) -> Self {
        Self {
            idem,
            context: Mutex::new(ContextV7::new()),
            ids: tokio::sync::Mutex::default(),
            order: Arc::default(),
        }
    }

    /// Waits for the order's lock: a short action holds it from before its entry to its end.
    pub(super) async fn lock_order(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.order).lock_owned().await
    }

    /// Writes the entries of an action that begins, with other notes in the same write.
    pub(super) async fn begin(
        &self,
        action: AuditAction,
        drafts: Vec<Draft>,
        also: impl FnOnce(&[AuditEntry]) -> Result<Vec<NoteChange>, ServiceError>,
    ) -> Result<Vec<AuditEntry>, ServiceError> {
        let mut held = self.ids.lock().await;
        let ids = self.read(&mut held).await?;
        let at = self.idem.clock().now();
        let mut last = ids.last().copied();
        let entries: Vec<_> = drafts
            .into_iter()
            .map(|draft| {
                let id = self.next(at, last);
                last = Some(id);
                let Draft {
                    who,
                    why,
                    letter,
                    handler,
                    key,
                    bulk,
                    done,
                } = draft;
                let outcome = if done { Outcome::Done } else { Outcome::Begun };
                AuditEntry {
                    id,
                    at,
                    who,
                    what: action,
                    why,
                    letter,
                    handler,
                    key,
                    bulk,
                    outcome,
                }
            })
            .collect();
        let mut changes = also(&entries)?;
        for entry in &entries {
            changes.push(note(entry)?);
        }
        self.idem.notes().write(changes).await?;
        ids.extend(entries.iter().map(|entry| entry.id));
        Ok(entries)
    }

    /// Writes the entries with their outcomes, with other notes in the same write.
    pub(super) async fn end(
        &self,
        entries: &[AuditEntry],
        mut also: Vec<NoteChange>,
    ) -> Result<(), ServiceError> {
        for entry in entries {
            also.push(note(entry)?);
        }
        Ok(self.idem.notes().write(also).await?)
    }

    /// Returns one page, newest first.
    pub(super) async fn page(&self, query: &PageQuery) -> Result<AuditPage, ServiceError> {
        let limit = page_limit(query.limit)?;
        let ids = {
            let mut held = self.ids.lock().await;
            let ids = self.read(&mut held).await?;
            let end = query
                .after
                .map_or(ids.len(), |after| ids.partition_point(|id| *id < after));
            let start = end.saturating_sub(limit + 1);
            ids.get(start..end).unwrap_or_default().to_vec()
        };
        let more = ids.len() > limit;
        let mut entries = Vec::new();
        for id in ids.iter().rev().take(limit) {
            entries.extend(self.entry(*id).await?);
        }
        let next = entries.last().filter(|_| more).map(|entry| entry.id);
        Ok(AuditPage { entries, next })
    }

    /// Removes some of the entries that are too old.
    pub(super) async fn prune(&self) -> Result<(), ServiceError> {
        let kept = self
            .idem
            .clock()
            .now()
            .checked_sub(KEPT)
            .unwrap_or(Timestamp::MIN);
        let oldest = async |most| -> Result<Vec<Uuid>, ServiceError> {
            let notes = self.idem.notes().list(PREFIX, None, most).await?;
            let ids = notes
                .iter()
                .filter_map(|note| note.key.strip_prefix(PREFIX)?.parse::<Uuid>().ok());
            Ok(ids
                .take_while(|id| created_at(id).is_some_and(|at| at < kept))
                .collect())
        };
        // Usually the first entry is recent.
        if oldest(1).await?.is_empty() {
            return Ok(());
        }
        let mut held = self.ids.lock().await;
        let old = oldest(PRUNED).await?;
        let changes = old
            .iter()
            .map(|id| NoteChange::delete(format!("{PREFIX}{id}")))
            .collect();
        self.idem.notes().write(changes).await?;
        if let (Some(ids), Some(last)) = (held.as_mut(), old.last()) {
            ids.drain(..ids.partition_point(|id| id <= last));
        }
        Ok(())
    }

    /// Reads one entry.
    pub(super) async fn entry(&self, id: Uuid) -> Result<Option<AuditEntry>, ServiceError> {
        let key = format!("{PREFIX}{id}");
        let Some(value) = self.idem.notes().get(&key).await? else {
            return Ok(None);
        };
        decoded(&key, &value).map(Some)
    }

    /// Reads the ids of all entries, once.
    async fn read<'a>(
        &self,
        held: &'a mut Option<Vec<Uuid>>,
    ) -> Result<&'a mut Vec<Uuid>, ServiceError> {
        if held.is_none() {
            let (mut ids, mut after) = (Vec::new(), None);
            loop {
                let notes = self
                    .idem
                    .notes()
                    .list(PREFIX, after.as_deref(), READ)
                    .await?;
                ids.extend(
                    notes
                        .iter()
                        .filter_map(|note| note.key.strip_prefix(PREFIX)?.parse::<Uuid>().ok()),
                );
                match notes.into_iter().last() {
                    Some(last) => after = Some(last.key),
                    None => break,
                }
            }
            *held = Some(ids);
        }
        Ok(held.get_or_insert_default())
    }

    /// Returns an id after the last one, even if the clock has stepped back.
    fn next(&self, at: Timestamp, last: Option<Uuid>) -> Uuid {
        let id = time_ordered(at, &self.context.lock());
        match last {
            Some(last) if id <= last => Uuid::from_u128(last.as_u128() + 1),
            _ => id,
        }
    }
}

/// Returns a UUID of version 7.
pub(super) fn time_ordered(at: Timestamp, context: &ContextV7) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(context, seconds, nanoseconds))
}

/// Returns when an id was created; ids sort by it.
fn created_at(id: &Uuid) -> Option<Timestamp> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Timestamp::new(
        i64::try_from(seconds).ok()?,
        i32::try_from(nanoseconds).ok()?,
    )
    .ok()
}

fn note(entry: &AuditEntry) -> Result<NoteChange, ServiceError> {
    let key = format!("{PREFIX}{}", entry.id);
    let value = encoded(&key, entry)?;
    Ok(NoteChange::put(key, value))
}

pub(super) fn encoded<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, ServiceError> {
    let problem = |error| ServiceError::Note {
        key: key.to_owned(),
        problem: json_problem(&error),
    };
    serde_json::to_vec(value).map_err(problem)
}

pub(super) fn decoded<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, ServiceError> {
    from_json(value).map_err(|problem| ServiceError::Note {
        key: key.to_owned(),
        problem,
    })
}

/// Checks a page's limit; [`PAGE`] by default.
pub(super) fn page_limit(asked: Option<usize>) -> Result<usize, ServiceError> {
    match asked.unwrap_or(PAGE) {
        limit @ 1..=LONGEST_PAGE => Ok(limit),
        limit => Err(ServiceError::Invalid {
            field: "limit",
            why: format!("is {limit}: it can be from 1 to {LONGEST_PAGE}"),
        }),
    }
}

impl super::Service {
    /// Returns one page of the audit log, newest first.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn audit(&self, query: &PageQuery) -> Result<AuditPage, ServiceError> {
        self.inner.audit_log.page(query).await
    }
}

//! The audit log's writing and reading: notes whose keys sort in the order in which things were
//! done.

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

use super::audit::{AuditEntry, AuditPage, Deed, Outcome, PageQuery};
use super::error::ServiceError;
use super::letters::{LONGEST_PAGE, PAGE};

const PREFIX: &str = "audit/";
/// Notes read at once.
const READ: usize = 500;
/// How long an entry is kept: what a quarter's look back needs, and longer than closed letters are.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Entries removed at once.
const PIECE: usize = 200;

/// The audit log of one ledger.
pub(super) struct Journal {
    idem: Idem,
    context: Mutex<ContextV7>,
    /// The ids that are there, in order, once they were read; 16 bytes each.
    ids: tokio::sync::Mutex<Option<Vec<Uuid>>>,
    /// Held while an act and its entry are written, so that the log has the order of the acts.
    order: Arc<tokio::sync::Mutex<()>>,
}

/// What somebody is about to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) who: String,
    pub(super) why: Option<String>,
    pub(super) letter: Option<DeadLetterId>,
    pub(super) handler: Option<String>,
    pub(super) key: Option<String>,
    pub(super) bulk: Option<Uuid>,
    /// It is done in the same write.
    pub(super) done: bool,
}

impl Draft {
    pub(super) fn of(who: &str, why: Option<&str>, letter: &DeadLetter) -> Self {
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

impl Journal {
    pub(super) fn new(idem: Idem) -> Self {
        Self {
            idem,
            context: Mutex::new(ContextV7::new()),
            ids: tokio::sync::Mutex::default(),
            order: Arc::default(),
        }
    }

    /// Held from an entry's beginning to its act's end where the act is short.
    pub(super) async fn in_order(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.order).lock_owned().await
    }

    /// Writes that something is being begun, with other notes in the same write.
    pub(super) async fn begin(
        &self,
        deed: Deed,
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
                    what: deed,
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

    /// Writes what it came to, with other notes in the same write.
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

    /// One page, newest first.
    pub(super) async fn page(&self, query: &PageQuery) -> Result<AuditPage, ServiceError> {
        let limit = limit(query.limit)?;
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

    /// Removes a piece of what is too old to be kept.
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
                .take_while(|id| written(id).is_some_and(|at| at < kept))
                .collect())
        };
        // Most looks end with the first entry.
        if oldest(1).await?.is_empty() {
            return Ok(());
        }
        let mut held = self.ids.lock().await;
        let old = oldest(PIECE).await?;
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

    pub(super) async fn entry(&self, id: Uuid) -> Result<Option<AuditEntry>, ServiceError> {
        let key = format!("{PREFIX}{id}");
        let Some(value) = self.idem.notes().get(&key).await? else {
            return Ok(None);
        };
        decoded(&key, &value).map(Some)
    }

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

    /// An id after the last one, even where the clock has stepped back.
    fn next(&self, at: Timestamp, last: Option<Uuid>) -> Uuid {
        let id = time_ordered(at, &self.context.lock());
        match last {
            Some(last) if id <= last => Uuid::from_u128(last.as_u128() + 1),
            _ => id,
        }
    }
}

/// A UUID of version 7.
pub(super) fn time_ordered(at: Timestamp, context: &ContextV7) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(context, seconds, nanoseconds))
}

/// When an id was made; ids sort by it.
fn written(id: &Uuid) -> Option<Timestamp> {
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

/// A page's length that was asked for.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, ServiceError> {
    match asked.unwrap_or(PAGE) {
        limit @ 1..=LONGEST_PAGE => Ok(limit),
        limit => Err(ServiceError::Invalid {
            field: "limit",
            why: format!("is {limit}: it can be from 1 to {LONGEST_PAGE}"),
        }),
    }
}

impl super::Service {
    /// One page of the audit log, newest first.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn audit(&self, query: &PageQuery) -> Result<AuditPage, ServiceError> {
        self.inner.journal.page(query).await
    }
}

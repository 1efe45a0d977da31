//! Reads and writes the audit log: notes whose keys sort in the order of the actions.

mod known;

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::NoteChange;
use idem_runtime::notes::ExpectedNote;
use idem_runtime::{
    DeadLetter, DeadLetterId, Idem,
    clock::Timestamp,
    json::{from_json, json_problem},
};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::{ContextV7, Uuid};

use known::{HEAD, Known, id_of, read_head};

use super::audit::{AuditAction, AuditEntry, AuditPage, Outcome, PageQuery};
use super::error::ServiceError;
use super::letters::{LONGEST_PAGE, PAGE};

const PREFIX: &str = "audit/";
/// How long an entry is kept: for a quarter's review, and longer than closed letters.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The number of entries that are removed at once.
const PRUNED: usize = 200;

/// The audit log of one ledger, which all its replicas write.
pub(super) struct AuditLog {
    idem: Idem,
    context: Mutex<ContextV7>,
    known: tokio::sync::Mutex<Known>,
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

    fn entry(self, id: Uuid, at: Timestamp, what: AuditAction) -> AuditEntry {
        let Self {
            who,
            why,
            letter,
            handler,
            key,
            bulk,
            done,
        } = self;
        let outcome = if done { Outcome::Done } else { Outcome::Begun };
        AuditEntry {
            id,
            at,
            who,
            what,
            why,
            letter,
            handler,
            key,
            bulk,
            outcome,
        }
    }
}

impl AuditLog {
    pub(super) fn new(idem: Idem) -> Self {
        Self {
            idem,
            context: Mutex::new(ContextV7::new()),
            known: tokio::sync::Mutex::default(),
            order: Arc::default(),
        }
    }

    /// Waits for the order's lock: a short action holds it from before its entry to its end.
    pub(super) async fn lock_order(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.order).lock_owned().await
    }

    /// Writes the entry of an action that begins.
    pub(super) async fn begin(
        &self,
        action: AuditAction,
        draft: Draft,
    ) -> Result<Vec<AuditEntry>, ServiceError> {
        let begun = self
            .begin_if(action, &[draft], &[], |_| Ok(Vec::new()))
            .await?;
        // Nothing was expected, so nothing was refused.
        Ok(begun.unwrap_or_default())
    }

    /// Writes the entries of an action that begins, with other notes in the same write, if the
    /// `expected` notes are so. Returns `None` otherwise.
    pub(super) async fn begin_if(
        &self,
        action: AuditAction,
        drafts: &[Draft],
        expected: &[ExpectedNote],
        mut also: impl FnMut(&[AuditEntry]) -> Result<Vec<NoteChange>, ServiceError>,
    ) -> Result<Option<Vec<AuditEntry>>, ServiceError> {
        let notes = self.idem.notes();
        let mut known = self.known.lock().await;
        loop {
            let head = known.catch_up(&self.idem).await?;
            let at = self.idem.clock().now();
            let mut last = known.ids.last().copied();
            let entries: Vec<_> = drafts
                .iter()
                .map(|draft| {
                    let id = self.next(at, last);
                    last = Some(id);
                    draft.clone().entry(id, at, action)
                })
                .collect();
            let mut changes = also(&entries)?;
            for entry in &entries {
                changes.push(note(entry)?);
            }
            let new_head = last.map(|id| id.to_string().into_bytes());
            changes.extend(new_head.clone().map(|id| NoteChange::put(HEAD, id)));
            let mut all_expected = expected.to_vec();
            all_expected.push(head.clone());
            if notes.write_if(changes, all_expected).await? {
                known.ids.extend(entries.iter().map(|entry| entry.id));
                known.head = new_head.map(|id| ExpectedNote::value(HEAD, id));
                return Ok(Some(entries));
            }
            // Else another replica's entries came first.
            if read_head(&notes).await? == head {
                return Ok(None);
            }
        }
    }

    /// Writes the entries of an action that ended so. Returns whether it did.
    pub(super) async fn finish(
        &self,
        mut entries: Vec<AuditEntry>,
        outcome: &Outcome,
    ) -> Result<bool, ServiceError> {
        for entry in &mut entries {
            entry.outcome = outcome.clone();
        }
        self.end(&entries, Vec::new(), Vec::new()).await
    }

    /// Writes the entries with their outcomes, with other notes in the same write, if the
    /// `expected` notes are so. Returns whether it did.
    pub(super) async fn end(
        &self,
        entries: &[AuditEntry],
        mut also: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, ServiceError> {
        for entry in entries {
            also.push(note(entry)?);
        }
        Ok(self.idem.notes().write_if(also, expected).await?)
    }

    /// Returns one page, newest first.
    pub(super) async fn page(&self, query: &PageQuery) -> Result<AuditPage, ServiceError> {
        let limit = page_limit(query.limit)?;
        let ids = {
            let mut known = self.known.lock().await;
            known.catch_up(&self.idem).await?;
            let ids = &known.ids;
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

    /// Forgets the entries that are gone, and removes some of those that are too old, unless the
    /// service is read-only.
    pub(super) async fn prune(&self, removes: bool) -> Result<(), ServiceError> {
        let kept = self
            .idem
            .clock()
            .now()
            .checked_sub(KEPT)
            .unwrap_or(Timestamp::MIN);
        let oldest = async |most| -> Result<Vec<Uuid>, ServiceError> {
            let notes = self.idem.notes().list(PREFIX, None, most).await?;
            Ok(notes.iter().filter_map(id_of).collect())
        };
        let is_old = |id: &Uuid| created_at(id).is_some_and(|at| at < kept);
        let mut known = self.known.lock().await;
        let Some(first) = oldest(1).await?.pop() else {
            known.ids.clear();
            return Ok(());
        };
        // Another replica may have removed some.
        let gone = known.ids.partition_point(|id| *id < first);
        known.ids.drain(..gone);
        // Usually the first entry is recent.
        if !removes || !is_old(&first) {
            return Ok(());
        }
        let old: Vec<_> = oldest(PRUNED)
            .await?
            .into_iter()
            .take_while(is_old)
            .collect();
        let changes = old
            .iter()
            .map(|id| NoteChange::delete(format!("{PREFIX}{id}")))
            .collect();
        self.idem.notes().write(changes).await?;
        if let Some(last) = old.last() {
            let gone = known.ids.partition_point(|id| id <= last);
            known.ids.drain(..gone);
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

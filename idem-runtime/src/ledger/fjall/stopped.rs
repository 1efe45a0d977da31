//! A folder on fjall that no process holds, read as it is.

use std::ops::Bound;
use std::path::Path;

use super::db::{Db, prefix};
use super::list::notes;
use super::opening::Opened;
use super::rows::{LETTER, Meta, ROW, Stored, note_key};
use crate::ledger::folder::record_key::RecordKey;
use crate::ledger::folder::witness::Witness;
use crate::ledger::folder::{Folder, limit};
use crate::ledger::{Engine, LedgerError, Note, StoppedRecord};
use crate::protocol::DeadLetter;

/// How many rows are read at once.
const PAGE: usize = 256;

/// The contents of a folder that no process holds. It writes nothing of its own, and holds the folder until
/// it is dropped.
pub(in crate::ledger) struct StoppedFjall {
    db: Db,
    meta: Meta,
    /// Its lock goes last.
    _folder: Folder,
}

impl StoppedFjall {
    pub(in crate::ledger) fn open(path: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        limit::survive();
        let folder = Folder::hold(path, Engine::Fjall)?;
        let acknowledged = Witness::must_be_in(&folder)?;
        let Opened { db, meta, .. } = Opened::read(&folder, cache_bytes, Some(acknowledged))?;
        Ok(Self {
            db,
            meta,
            _folder: folder,
        })
    }

    pub(in crate::ledger) fn name(&self) -> String {
        format!("{:032x}", self.meta.name)
    }

    pub(in crate::ledger) fn last_write(&self) -> u64 {
        self.meta.group
    }

    pub(in crate::ledger) fn last_number(&self) -> u64 {
        self.meta.reserved.max(self.meta.noted)
    }

    pub(in crate::ledger) fn records(
        &self,
    ) -> impl Iterator<Item = Result<StoppedRecord, LedgerError>> + '_ {
        self.pairs(ROW).filter_map(|pair| {
            let read = pair.and_then(|(key, row)| {
                let stored = Stored::read(&row)?;
                let address = RecordKey::from_bytes(key.get(1..).unwrap_or_default());
                let record = stored.record()?;
                Ok(record.map(|record| (stored.id(&address).ok(), record)))
            });
            read.transpose()
        })
    }

    pub(in crate::ledger) fn letters(
        &self,
    ) -> impl Iterator<Item = Result<DeadLetter, LedgerError>> + '_ {
        self.pairs(LETTER)
            .map(|pair| pair.and_then(|(_, letter)| DeadLetter::decode(&letter)))
    }

    pub(in crate::ledger) fn notes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Note>, LedgerError> {
        notes(&self.db, "", after, limit)
    }

    pub(in crate::ledger) fn note(&self, key: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.db.get(&note_key(key))?.map(|value| value.to_vec()))
    }

    /// Returns the pairs of a kind. An error is the last.
    fn pairs(&self, kind: u8) -> impl Iterator<Item = Result<Pair, LedgerError>> + '_ {
        let mut after = Some(Bound::Included(vec![kind]));
        let pages = std::iter::from_fn(move || {
            let start = after.take()?;
            let (_, end) = prefix(&[kind]);
            let mut page = Vec::new();
            let read = self.db.scan((start, end), |key, value| {
                page.push(Ok((key.to_vec(), value.to_vec())));
                Ok(page.len() < PAGE)
            });
            match (read, page.last()) {
                (Err(error), _) => page.push(Err(error)),
                (Ok(()), Some(Ok((last, _)))) if page.len() == PAGE => {
                    after = Some(Bound::Excluded(last.clone()));
                }
                (Ok(()), _) => {}
            }
            Some(page)
        });
        pages.flatten()
    }
}

type Pair = (Vec<u8>, Vec<u8>);

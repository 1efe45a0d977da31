//! A folder that no process holds, read as it is, so that another ledger can take its contents over.

use std::iter;
use std::path::Path;
use std::sync::Arc;

use minicbor::bytes::ByteVec;

use super::filters::{Bucket, Index};
use super::journal::Running;
use super::layout::{
    CLOSED_LETTER, Counts, DEAD, LIVE, Meta, OPEN_LETTER, RecordKey, SETTLED, bucket_in, note_key,
};
use super::opening::Opened;
use super::store::{PAGE, Store};
use super::{list, recovery, verify};
use crate::ledger::folder::witness::Witness;
use crate::ledger::folder::{Folder, limit};
use crate::ledger::{Engine, LedgerError, Note, StoppedRecord};
use crate::protocol::{DeadLetter, Live, Record, RecordId, Settled, Settlement};

/// The contents of a folder that no process holds: it stays as it is, and is held until this is
/// dropped.
pub(in crate::ledger) struct StoppedSled {
    store: Store,
    meta: Meta,
    running: Running,
    index: Index,
    /// Its lock goes last.
    _folder: Folder,
}

impl StoppedSled {
    pub(in crate::ledger) fn open(path: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        limit::survive();
        let folder = Folder::hold(path, Engine::Sled)?;
        let acknowledged = Witness::must_be_in(&folder)?;
        let (store, _) = recovery::begin(&folder, cache_bytes, Some(acknowledged))?;
        let read = Opened::read(&store, path, Some(acknowledged)).and_then(|opened| {
            verify::at_open(&store, opened.closed.clone())?;
            Ok(opened)
        });
        let (store, opened) = store.unless_poisoned(read)?;
        let filters: Vec<Arc<Bucket>> = opened.filters;
        Ok(Self {
            index: Index::new(opened.state.meta.seed, filters),
            meta: opened.state.meta,
            running: opened.running,
            store,
            _folder: folder,
        })
    }

    pub(in crate::ledger) fn name(&self) -> String {
        format!("{:016x}{:016x}", self.meta.seed.0, self.meta.seed.1)
    }

    /// Returns the number of its last write. Every opening by a service is one.
    pub(in crate::ledger) fn last_write(&self) -> u64 {
        self.meta.group
    }

    /// Returns the last number that it gave out: as a fencing token or a note's number.
    pub(in crate::ledger) fn last_number(&self) -> u64 {
        self.meta.number
    }

    /// Returns its records, in no order. One that cannot be read is an error of its own
    /// ([`LedgerError::Record`]); any other error is the last.
    pub(in crate::ledger) fn records(
        &self,
    ) -> impl Iterator<Item = Result<StoppedRecord, LedgerError>> + '_ {
        let running = self
            .running
            .values()
            .map(|claim| Ok(live(claim.live.clone())));
        let waiting = self.keys(LIVE).filter_map(|key| {
            let key = match key {
                Ok(key) => key,
                Err(error) => return Some(Err(error)),
            };
            let runs = self.running.contains_key(&RecordKey::from_bytes(&key[1..]));
            let read = || self.store.get::<Live>(&key).transpose();
            if runs { None } else { read() }.map(|read| read.map(live))
        });
        let dead = self.keys(DEAD).filter_map(|key| self.settled(key, 1));
        let settled = self.keys(SETTLED).filter_map(|key| self.settled(key, 5));
        running.chain(waiting).chain(dead).chain(settled)
    }

    /// Returns its letters, open and closed. Errors are as of [`records`](Self::records).
    pub(in crate::ledger) fn letters(
        &self,
    ) -> impl Iterator<Item = Result<DeadLetter, LedgerError>> + '_ {
        let keys = self.keys(OPEN_LETTER).chain(self.keys(CLOSED_LETTER));
        keys.filter_map(|key| key.and_then(|key| self.store.get(&key)).transpose())
    }

    /// Returns up to `limit` notes behind a key.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::ledger) fn notes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Note>, LedgerError> {
        list::notes(&self.store, "", after, limit)
    }

    /// Returns the value of a note.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::ledger) fn note(&self, key: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let value: Option<ByteVec> = self.store.get(&note_key(key))?;
        Ok(value.map(Into::into))
    }

    /// Reads the record that is settled under a key, if it is the one that counts. `address` is where
    /// the record's own address begins.
    fn settled(
        &self,
        key: Result<Vec<u8>, LedgerError>,
        address: usize,
    ) -> Option<Result<StoppedRecord, LedgerError>> {
        let read = key.and_then(|key| {
            let record_key = RecordKey::from_bytes(key.get(address..).unwrap_or_default());
            if !self.counts_at(&key, &record_key)? {
                return Ok(None);
            }
            let Some(settled) = self.store.get::<Settled>(&key)? else {
                return Ok(None);
            };
            let id = match record_key.id() {
                None => self.id_by_letter(&settled, &record_key)?,
                id => id,
            };
            Ok(Some((id, Record::Settled(settled))))
        });
        read.transpose()
    }

    /// Returns whether this is where the record is read. Earlier ones of its key may still stand
    /// elsewhere.
    fn counts_at(&self, key: &[u8], record_key: &RecordKey) -> Result<bool, LedgerError> {
        let Counts { live, dead, .. } = self.meta.counts;
        let stands =
            |kind| Ok::<_, LedgerError>(self.store.raw(&record_key.in_kind(kind))?.is_some());
        if self.running.contains_key(record_key) || (live > 0 && stands(LIVE)?) {
            return Ok(false);
        }
        if key.first() == Some(&DEAD) {
            return Ok(true);
        }
        if dead > 0 && stands(DEAD)? {
            return Ok(false);
        }
        let found = self.index.find(&self.store, record_key)?;
        Ok(found.is_some_and(|found| found.bucket == bucket_in(key)))
    }

    /// Returns the id that a record's letter has.
    fn id_by_letter(
        &self,
        settled: &Settled,
        record_key: &RecordKey,
    ) -> Result<Option<RecordId>, LedgerError> {
        let (Settlement::Dead(id) | Settlement::Discarded(id)) = settled.end else {
            return Ok(None);
        };
        for kind in [OPEN_LETTER, CLOSED_LETTER] {
            if let Some(letter) = self.store.get::<DeadLetter>(&super::letter_key(kind, id))? {
                let id = letter.record_id();
                return Ok((RecordKey::new(&id) == *record_key).then_some(id));
            }
        }
        Ok(None)
    }

    fn keys(&self, kind: u8) -> impl Iterator<Item = Result<Vec<u8>, LedgerError>> + '_ {
        let (mut page, mut after, mut ended) = (Vec::new().into_iter(), Vec::new(), false);
        iter::from_fn(move || {
            loop {
                if let Some(key) = page.next() {
                    return Some(Ok(key));
                }
                if ended {
                    return None;
                }
                match self.store.rows(&[kind], &after, PAGE) {
                    Ok(rows) => {
                        ended = rows.len() < PAGE;
                        let keys: Vec<_> = rows.into_iter().map(|(key, _)| key.to_vec()).collect();
                        after = keys.last().cloned().unwrap_or_default();
                        page = keys.into_iter();
                    }
                    Err(error) => {
                        ended = true;
                        return Some(Err(error));
                    }
                }
            }
        })
    }
}

fn live(live: Live) -> StoppedRecord {
    (Some(live.id()), Record::Live(live))
}

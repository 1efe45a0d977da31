//! The writes of a group, and reads that see them: what a job decides from is what the jobs before it made.

use std::collections::HashMap;

use ::sled::IVec;
use minicbor::{Decode, Encode};

use super::layout::{Meta, chunk_key};
use super::store::{LARGEST_INLINE, Row, Spill, Store, value_of};
use crate::envelope::encode_into;
use crate::ledger::LedgerError;

/// Writes that are to happen together.
pub(super) struct Batch<'a> {
    store: &'a Store,
    writes: HashMap<IVec, Option<IVec>, foldhash::fast::RandomState>,
    /// What is being encoded: sled copies it.
    scratch: Vec<u8>,
}

impl<'a> Batch<'a> {
    pub(super) fn on(store: &'a Store) -> Self {
        Self { store, writes: HashMap::default(), scratch: Vec::new() }
    }

    /// Reads a value.
    pub(super) fn get<T: for<'b> Decode<'b, ()>>(&self, key: &[u8]) -> Result<Option<T>, LedgerError> {
        Ok(value_of(key, |key| self.raw(key))?.map(|(value, _)| value))
    }

    /// Whether there is a value, and the chunks it is to be removed with.
    fn head(&self, key: &[u8]) -> Result<Option<Option<Spill>>, LedgerError> {
        Ok(self.raw(key)?.map(|head| Spill::read(&head)))
    }

    fn raw(&self, key: &[u8]) -> Result<Option<IVec>, LedgerError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.store.raw(key),
        }
    }

    /// Up to `limit` keys that begin so, after one (or from the first), and the chunks they are to be removed with. It looks
    /// through all of the batch.
    pub(super) fn rows(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Row>, LedgerError> {
        let written: Vec<_> =
            self.writes.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_ref() > after).collect();
        let mut rows = self.store.rows(prefix, after, limit.saturating_add(written.len()))?;
        rows.retain(|(key, _)| !self.writes.contains_key(key.as_slice()));
        let there = written.into_iter().filter_map(|(key, value)| Some((key.to_vec(), Spill::read(value.as_ref()?))));
        rows.extend(there);
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows.truncate(limit);
        Ok(rows)
    }

    /// Puts a value in place of what is there, and counts it where nothing is. Says whether something was there.
    pub(super) fn put<T: Encode<()>>(&mut self, key: Vec<u8>, value: &T, meta: &mut Meta) -> Result<bool, LedgerError> {
        let old = self.head(&key)?;
        self.drop_chunks(old.flatten());
        if old.is_some() {
            self.write(key, value, meta)?
        } else {
            self.add(key, value, meta)?
        }
        Ok(old.is_some())
    }

    /// Puts a value where nothing is known to be, without looking, and counts it.
    pub(super) fn add<T: Encode<()>>(&mut self, key: Vec<u8>, value: &T, meta: &mut Meta) -> Result<(), LedgerError> {
        if let Some(count) = key.first().and_then(|kind| meta.counts.of(*kind)) {
            *count += 1;
        }
        self.write(key, value, meta)
    }

    fn write<T: Encode<()>>(&mut self, key: Vec<u8>, value: &T, meta: &mut Meta) -> Result<(), LedgerError> {
        self.encode(value)?;
        if self.scratch.len() <= LARGEST_INLINE {
            self.writes.insert(key.into(), Some(self.scratch.as_slice().into()));
            return Ok(());
        }
        meta.number += 1;
        let mut spill = Spill { name: meta.number, chunks: 0 };
        for chunk in self.scratch.chunks(LARGEST_INLINE) {
            self.writes.insert(chunk_key(spill.name, spill.chunks).into(), Some(chunk.into()));
            spill.chunks += 1;
        }
        self.writes.insert(key.into(), Some(spill.write().into()));
        Ok(())
    }

    /// Puts a value that is known to be small, of a kind that is not counted.
    pub(super) fn insert<T: Encode<()>>(&mut self, key: Vec<u8>, value: &T) -> Result<(), LedgerError> {
        self.encode(value)?;
        self.writes.insert(key.into(), Some(self.scratch.as_slice().into()));
        Ok(())
    }

    fn encode<T: Encode<()>>(&mut self, value: &T) -> Result<(), LedgerError> {
        self.scratch.clear();
        encode_into(value, &mut self.scratch)
    }

    /// Removes what is there, and counts it. Says whether something was.
    pub(super) fn remove(&mut self, key: &[u8], meta: &mut Meta) -> Result<bool, LedgerError> {
        let Some(old) = self.head(key)? else { return Ok(false) };
        if let Some(count) = key.first().and_then(|kind| meta.counts.of(*kind)) {
            // What was found was counted: when it was put there, or when the ledger was opened.
            *count = count.saturating_sub(1);
        }
        self.remove_row((key.to_vec(), old));
        Ok(true)
    }

    /// Removes a row that was found, of a kind that is not counted.
    pub(super) fn remove_row(&mut self, (key, spill): Row) {
        self.drop_chunks(spill);
        self.writes.insert(key.into(), None);
    }

    /// Removes all values whose keys begin so, of a kind that is not counted.
    pub(super) fn remove_all(&mut self, prefix: &[u8]) -> Result<(), LedgerError> {
        self.rows(prefix, &[], usize::MAX)?.into_iter().for_each(|row| self.remove_row(row));
        Ok(())
    }

    fn drop_chunks(&mut self, old: Option<Spill>) {
        let Some(Spill { name, chunks }) = old else { return };
        for index in 0..chunks {
            self.writes.insert(chunk_key(name, index).into(), None);
        }
    }

    /// As sled takes it.
    pub(super) fn into_writes(self) -> HashMap<IVec, Option<IVec>, foldhash::fast::RandomState> {
        self.writes
    }
}

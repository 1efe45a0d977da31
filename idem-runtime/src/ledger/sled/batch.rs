//! What a group writes, all of it or nothing. Until then it is read through the batch, so that a
//! job sees what the jobs before it did.

use std::collections::{BTreeMap, HashMap};

use ::sled::IVec;
use minicbor::{Decode, Encode};

use super::layout::{Meta, chunk_key, kind_in};
use super::spill::Spill;
use super::store::{LARGEST_INLINE, Store};
use crate::ledger::LedgerError;
use crate::protocol::encoding::encode_into;

/// Writes that are to happen together.
///
/// It counts what it adds and removes of each kind by what it finds in the value's place.
pub(super) struct Batch<'a> {
    store: &'a Store,
    writes: HashMap<IVec, Option<IVec>, foldhash::fast::RandomState>,
    /// What is being encoded: sled copies it.
    scratch: Vec<u8>,
}

impl<'a> Batch<'a> {
    pub(super) fn on(store: &'a Store) -> Self {
        Self {
            store,
            writes: HashMap::default(),
            scratch: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Reads a value as this batch will leave it.
    pub(super) fn get<T: for<'b> Decode<'b, ()>>(
        &self,
        key: &[u8],
    ) -> Result<Option<T>, LedgerError> {
        Store::read(key, |key| self.raw(key))
    }

    fn raw(&self, key: &[u8]) -> Result<Option<IVec>, LedgerError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.store.raw(key),
        }
    }

    /// Puts a value, in place of the old one where there is one. Says whether there was.
    pub(super) fn put<T: Encode<()>>(
        &mut self,
        key: Vec<u8>,
        value: &T,
        meta: &mut Meta,
    ) -> Result<bool, LedgerError> {
        let old = self.raw(&key)?;
        match &old {
            Some(old) => self.drop_chunks(old),
            None => meta
                .counts
                .of(kind_in(&key))
                .into_iter()
                .for_each(|count| *count += 1),
        }
        self.place(key, value, &mut meta.number)?;
        Ok(old.is_some())
    }

    /// Puts a value of a kind that is not counted where none is, which is not looked at.
    pub(super) fn add<T: Encode<()>>(
        &mut self,
        key: Vec<u8>,
        value: &T,
        meta: &mut Meta,
    ) -> Result<(), LedgerError> {
        self.place(key, value, &mut meta.number)
    }

    /// Puts a small value of a kind that is not counted, in place of another small one or of none,
    /// which is not looked at.
    pub(super) fn insert<T: Encode<()>>(
        &mut self,
        key: Vec<u8>,
        value: &T,
    ) -> Result<(), LedgerError> {
        self.encode(value)?;
        self.writes
            .insert(key.into(), Some(self.scratch.as_slice().into()));
        Ok(())
    }

    fn place<T: Encode<()>>(
        &mut self,
        key: Vec<u8>,
        value: &T,
        number: &mut u64,
    ) -> Result<(), LedgerError> {
        self.encode(value)?;
        if self.scratch.len() <= LARGEST_INLINE {
            self.writes
                .insert(key.into(), Some(self.scratch.as_slice().into()));
            return Ok(());
        }
        *number += 1;
        let mut spill = Spill {
            name: *number,
            chunks: 0,
        };
        for chunk in self.scratch.chunks(LARGEST_INLINE) {
            self.writes.insert(
                chunk_key(spill.name, spill.chunks).into(),
                Some(chunk.into()),
            );
            spill.chunks += 1;
        }
        self.writes.insert(key.into(), Some(spill.write().into()));
        Ok(())
    }

    fn encode<T: Encode<()>>(&mut self, value: &T) -> Result<(), LedgerError> {
        self.scratch.clear();
        encode_into(value, &mut self.scratch)
    }

    /// Removes a value, if there is one.
    pub(super) fn remove(&mut self, key: &[u8], meta: &mut Meta) -> Result<(), LedgerError> {
        match self.raw(key)? {
            Some(old) => self.erase(key.into(), &old, meta),
            None => Ok(()),
        }
    }

    fn erase(&mut self, key: IVec, old: &[u8], meta: &mut Meta) -> Result<(), LedgerError> {
        if let Some(count) = meta.counts.of(kind_in(&key)) {
            // The ledger is opened again, which counts anew.
            let less = count.checked_sub(1).ok_or_else(|| {
                self.store
                    .damaged("more is removed than was counted".to_owned())
            });
            *count = less?;
        }
        self.drop_chunks(old);
        self.writes.insert(key, None);
        Ok(())
    }

    /// Removes up to `limit` values whose keys begin so, after one (or from the first). Says how
    /// many, and which was the last.
    pub(super) fn remove_some(
        &mut self,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
        meta: &mut Meta,
    ) -> Result<(usize, Option<Vec<u8>>), LedgerError> {
        let written = self
            .writes
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_ref() > after);
        let written: Vec<_> = written
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        // Each write stands for one of the store's rows at most.
        let stored = self
            .store
            .rows(prefix, after, limit.saturating_add(written.len()))?;
        let mut rows: BTreeMap<IVec, Option<IVec>> = stored
            .into_iter()
            .map(|(key, old)| (key, Some(old)))
            .collect();
        rows.extend(written);
        let (mut removed, mut last) = (0, None);
        for (key, old) in rows
            .into_iter()
            .filter_map(|(key, old)| Some((key, old?)))
            .take(limit)
        {
            self.erase(key.clone(), &old, meta)?;
            removed += 1;
            last = Some(key.to_vec());
        }
        Ok((removed, last))
    }

    fn drop_chunks(&mut self, old: &[u8]) {
        let Some(Spill { name, chunks }) = Spill::read(old) else {
            return;
        };
        self.writes
            .extend((0..chunks).map(|index| (chunk_key(name, index).into(), None)));
    }

    /// The writes, for sled.
    pub(super) fn finish(self) -> HashMap<IVec, Option<IVec>, foldhash::fast::RandomState> {
        self.writes
    }
}

//! The transactions of the store in memory.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::MemoryStore;
use super::kept::{Kept, encoded_letter};
use crate::ledger::shared::{Runner, StoreError, StoreErrorKind, StoreTransaction, Write};
use crate::protocol::RecordId;

/// A transaction of a [`MemoryStore`]. It locks nothing, and is checked when it is committed: it is
/// not committed if something that it read, or a row that it writes, was changed meanwhile.
///
/// Beside the record it can write rows of the test's own.
pub struct MemoryTransaction {
    store: MemoryStore,
    /// The writes, with their letters encoded.
    writes: Vec<(Runner, Write, Option<Vec<u8>>)>,
    /// The versions of the rows that it writes, as they will be.
    versions: HashMap<RecordId, u64, RandomState>,
    read: BTreeMap<String, Option<Vec<u8>>>,
    put: BTreeMap<String, Vec<u8>>,
}

impl MemoryTransaction {
    pub(super) fn begin(store: MemoryStore) -> Self {
        Self {
            store,
            writes: Vec::new(),
            versions: HashMap::default(),
            read: BTreeMap::new(),
            put: BTreeMap::new(),
        }
    }

    /// Writes a row of the test's own.
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.put.insert(key.into(), value.into());
    }

    /// Reads a row of the test's own, as this transaction sees it.
    pub fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        if let Some(value) = self.put.get(key) {
            return Some(value.clone());
        }
        let read = self.read.entry(key.to_owned());
        read.or_insert_with(|| self.store.row(key)).clone()
    }

    fn is_as_expected(&self, kept: &Kept, write: &Write) -> bool {
        let version = self.versions.get(&write.id).copied();
        version.or_else(|| kept.version(&write.id)) == write.expected && kept.has_letter(write)
    }
}

impl StoreTransaction for MemoryTransaction {
    async fn write(&mut self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        let letter = encoded_letter(&write)?;
        let as_expected = self.store.at_now(|kept, _| {
            kept.must_live(runner)?;
            Ok(self.is_as_expected(kept, &write))
        })?;
        if as_expected {
            self.versions.insert(write.id.clone(), write.version);
            self.writes.push((Runner::clone(runner), write, letter));
        }
        Ok(as_expected)
    }

    async fn commit(self) -> Result<(), StoreError> {
        let Self {
            store,
            writes,
            read,
            put,
            ..
        } = self;
        let rows = store.at_now(|kept, _| {
            let mut versions: HashMap<_, u64, RandomState> = HashMap::default();
            for (runner, write, _) in &writes {
                kept.must_live(runner)?;
                let version = versions.insert(&write.id, write.version);
                let version = version.or_else(|| kept.version(&write.id));
                if version != write.expected || !kept.has_letter(write) {
                    return Err(overtaken());
                }
            }
            if read
                .iter()
                .any(|(key, value)| kept.own.get(key) != value.as_ref())
            {
                return Err(overtaken());
            }
            kept.own.extend(put);
            let rows = writes.iter().map(|(_, write, _)| write.id.clone());
            let rows = rows.collect();
            for (_, write, letter) in writes {
                kept.put(write, letter);
            }
            Ok(rows)
        })?;
        store.tell(rows);
        Ok(())
    }
}

fn overtaken() -> StoreError {
    StoreError::new(StoreErrorKind::Away, "another write came first")
}

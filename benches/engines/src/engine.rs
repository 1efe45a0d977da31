//! The engines, each with what the embedded ledger asks of one: durable groups, and reads.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

/// What is wrong, in the engine's words.
pub type Problem = Box<dyn Error + Send + Sync>;

/// A key, and its value or its removal.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// An engine in a folder.
pub trait Engine: Send + Sized + 'static {
    /// Its name.
    const NAME: &'static str;

    /// Opens the folder, or makes it.
    fn open(folder: &Path, cache: u64) -> Result<Self, Problem>;

    /// Writes a group durably: after a power cut, all of it is there or none.
    fn write(&mut self, group: &mut dyn Iterator<Item = Change>) -> Result<(), Problem>;

    /// Reads all there is, in the order of the keys.
    fn all(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Problem>;
}

/// sled 0.34.
pub struct Sled {
    db: sled::Db,
    log: File,
}

impl Engine for Sled {
    const NAME: &'static str = "sled";

    fn open(folder: &Path, cache: u64) -> Result<Self, Problem> {
        let config = sled::Config::new().path(folder).cache_capacity(cache);
        let db = config.open()?;
        let log = File::open(folder.join("db"))?;
        Ok(Self { db, log })
    }

    fn write(&mut self, group: &mut dyn Iterator<Item = Change>) -> Result<(), Problem> {
        let mut batch = sled::Batch::default();
        for (key, value) in group {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch)?;
        // Its own flush ends in `sync_file_range`, which keeps nothing through a power cut.
        self.db.flush()?;
        Ok(self.log.sync_data()?)
    }

    fn all(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Problem> {
        for pair in self.db.iter() {
            let (key, value) = pair?;
            each(&key, &value);
        }
        Ok(())
    }
}

/// fjall 3: a log-structured merge tree behind a journal.
pub struct Fjall {
    db: Database,
    records: Keyspace,
}

impl Engine for Fjall {
    const NAME: &'static str = "fjall";

    fn open(folder: &Path, cache: u64) -> Result<Self, Problem> {
        let db = Database::builder(folder).cache_size(cache).open()?;
        let records = db.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(Self { db, records })
    }

    fn write(&mut self, group: &mut dyn Iterator<Item = Change>) -> Result<(), Problem> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in group {
            match value {
                Some(value) => batch.insert(&self.records, key, value),
                None => batch.remove(&self.records, key),
            }
        }
        Ok(batch.commit()?)
    }

    fn all(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Problem> {
        for pair in self.records.iter() {
            let (key, value) = pair.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }
}

/// redb 4: a copy-on-write B-tree in one file.
pub struct Redb(redb::Database);

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

impl Engine for Redb {
    const NAME: &'static str = "redb";

    fn open(folder: &Path, cache: u64) -> Result<Self, Problem> {
        std::fs::create_dir_all(folder)?;
        let cache = usize::try_from(cache)?;
        let db = redb::Builder::new()
            .set_cache_size(cache)
            .create(folder.join("db"))?;
        Ok(Self(db))
    }

    fn write(&mut self, group: &mut dyn Iterator<Item = Change>) -> Result<(), Problem> {
        let transaction = self.0.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            for (key, value) in group {
                match value {
                    Some(value) => drop(records.insert(key.as_slice(), value.as_slice())?),
                    None => drop(records.remove(key.as_slice())?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn all(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Problem> {
        let transaction = self.0.begin_read()?;
        for pair in transaction.open_table(RECORDS)?.iter()? {
            let (key, value) = pair?;
            each(key.value(), value.value());
        }
        Ok(())
    }
}

//! The least that a duplicate can cost: one read of the same record from a bare engine, and its
//! decoding.

use std::ops::Range;
use std::path::Path;

use idem_runtime::Idem;
use idem_runtime::protocol::{Record, RecordId, Settled, Settlement, StoredResult};

use crate::orders::{Order, PlaceOrder, delivery};

const HANDLER: &str = "orders.place";

/// The settled records of orders, on a bare engine.
pub enum Copied {
    /// On sled.
    Sled(sled::Db),
    /// On fjall: the database, and its keyspace.
    Fjall(fjall::Database, fjall::Keyspace),
}

fn key(order: &PlaceOrder) -> Vec<u8> {
    [HANDLER.as_bytes(), order.order_no.as_bytes()].concat()
}

#[expect(
    clippy::expect_used,
    reason = "a bench that cannot read measures nothing"
)]
impl Copied {
    /// Opens sled in a folder of its own.
    ///
    /// # Panics
    /// When the folder cannot be used.
    pub fn on_sled(folder: &Path, cache: u64) -> Self {
        let config = sled::Config::new().path(folder).cache_capacity(cache);
        Self::Sled(config.open().expect("sled opens"))
    }

    /// Opens fjall in a folder of its own.
    ///
    /// # Panics
    /// When the folder cannot be used.
    pub fn on_fjall(folder: &Path, cache: u64) -> Self {
        let db = fjall::Database::builder(folder).cache_size(cache).open();
        let db = db.expect("fjall opens");
        let rows = db.keyspace("rows", fjall::KeyspaceCreateOptions::default);
        let rows = rows.expect("fjall makes a keyspace");
        Self::Fjall(db, rows)
    }

    fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        match self {
            Self::Sled(db) => drop(db.insert(key, value).expect("sled writes")),
            Self::Fjall(_, rows) => rows.insert(key, value).expect("fjall writes"),
        }
    }

    fn flush(&self) {
        match self {
            Self::Sled(db) => drop(db.flush().expect("sled flushes")),
            Self::Fjall(db, _) => {
                let synced = db.persist(fjall::PersistMode::SyncAll);
                synced.expect("fjall flushes");
            }
        }
    }

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Sled(db) => read(&db.get(key).expect("sled reads").expect("it was copied")),
            Self::Fjall(_, rows) => {
                read(&rows.get(key).expect("fjall reads").expect("it was copied"))
            }
        }
    }

    /// Copies the records of the orders with these numbers.
    ///
    /// # Panics
    /// When one of them is not settled.
    pub fn copy(&self, idem: &Idem, numbers: Range<u64>) {
        for number in numbers {
            let order = delivery(number);
            let id = RecordId::new(HANDLER, order.order_no.as_str());
            let Some(Record::Settled(settled)) =
                pollster::block_on(idem.record(&id)).expect("idem reads")
            else {
                panic!("{} is not settled", order.order_no)
            };
            let settled = minicbor::to_vec(&settled).expect("it was encoded");
            self.put(key(&order), settled);
        }
        self.flush();
    }

    /// Reads the result of an order.
    ///
    /// # Panics
    /// When it was not copied.
    pub fn read(&self, order: &PlaceOrder) -> Order {
        let settled: Settled = self.get(&key(order), |value| {
            minicbor::decode(value).expect("it was encoded")
        });
        let Settlement::Done(StoredResult::Json { json, .. }) = settled.end else {
            panic!("it is not done")
        };
        serde_json::from_slice(&json).expect("it is an order")
    }
}

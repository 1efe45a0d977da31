//! The least that a duplicate can cost: one read of the same record from bare sled, and its
//! decoding.

use std::ops::Range;
use std::path::Path;

use idem_runtime::Idem;
use idem_runtime::protocol::{Record, RecordId, Settled, Settlement, StoredResult};

use crate::orders::{Order, PlaceOrder, delivery};

const HANDLER: &str = "orders.place";

/// The settled records of orders, on bare sled.
pub struct Copied(sled::Db);

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
    pub fn open(folder: &Path, cache: u64) -> Self {
        Self(
            sled::Config::new()
                .path(folder)
                .cache_capacity(cache)
                .open()
                .expect("sled opens"),
        )
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
            self.0
                .insert(
                    key(&order),
                    minicbor::to_vec(&settled).expect("it was encoded"),
                )
                .expect("sled writes");
        }
        self.0.flush().expect("sled flushes");
    }

    /// Reads the result of an order.
    ///
    /// # Panics
    /// When it was not copied.
    pub fn read(&self, order: &PlaceOrder) -> Order {
        let value = self
            .0
            .get(key(order))
            .expect("sled reads")
            .expect("it was copied");
        let settled: Settled = minicbor::decode(&value).expect("it was encoded");
        let Settlement::Done(StoredResult::Json { json, .. }) = settled.end else {
            panic!("it is not done")
        };
        serde_json::from_slice(&json).expect("it is an order")
    }
}

//! The business behind the consumers: a table of orders on disk, which outlives its processes.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use idem_brokers::Message;
use idem_runtime::{
    Error, Idem, idempotent,
    outbox::{Keyed, OutboxMessage},
};
use serde::{Deserialize, Serialize};

/// The message: an order to place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlaceOrder {
    pub(crate) order_no: String,
    pub(crate) customer: String,
    /// The number of attempts that fail.
    pub(crate) fails: u32,
}

impl PlaceOrder {
    pub(crate) fn new(order_no: impl Into<String>) -> Self {
        Self {
            order_no: order_no.into(),
            customer: "Ann".to_owned(),
            fails: 0,
        }
    }

    pub(crate) fn by(mut self, customer: &str) -> Self {
        customer.clone_into(&mut self.customer);
        self
    }

    pub(crate) fn failing(mut self, times: u32) -> Self {
        self.fails = times;
        self
    }

    /// Returns the message that the producer sends.
    pub(crate) fn message(&self, to: &str) -> Message {
        Message::new(to, serde_json::to_vec(self).unwrap()).id(&self.order_no)
    }
}

impl Keyed for PlaceOrder {
    fn key(&self) -> String {
        self.order_no.clone()
    }

    fn ordering_key(&self) -> String {
        self.customer.clone()
    }
}

/// The table, with one file per order, so that placing it twice is noticed.
#[derive(Debug)]
pub(crate) struct Shop {
    folder: PathBuf,
}

impl Shop {
    pub(crate) fn at(folder: &Path) -> Arc<Self> {
        for part in ["orders", "starts"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        Arc::new(Self {
            folder: folder.to_owned(),
        })
    }

    /// Places an order. It is the body of every handler here.
    pub(crate) fn place(&self, order: &PlaceOrder) -> anyhow::Result<u32> {
        let starts = self.append(&format!("starts/{}", order.order_no), ".");
        if starts <= u64::from(order.fails) {
            bail!("the bank does not answer");
        }
        match File::create_new(self.folder.join("orders").join(&order.order_no)) {
            Ok(_) => self.append("log", &format!("{} {}\n", order.customer, order.order_no)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.append("twice", &order.order_no)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(1)
    }

    /// Appends to a file, and returns its new length.
    fn append(&self, name: &str, text: &str) -> u64 {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.metadata().unwrap().len()
    }

    fn find(&self, order: &PlaceOrder) -> Option<u32> {
        self.folder
            .join("orders")
            .join(&order.order_no)
            .is_file()
            .then_some(1)
    }

    /// Returns how many orders are in the table.
    pub(crate) fn placed(&self) -> usize {
        fs::read_dir(self.folder.join("orders")).unwrap().count()
    }

    /// Returns whether an order was placed twice.
    pub(crate) fn placed_twice(&self) -> bool {
        self.folder.join("twice").exists()
    }

    /// Returns how often the body began for an order.
    pub(crate) fn starts(&self, order_no: &str) -> u64 {
        fs::metadata(self.folder.join("starts").join(order_no)).map_or(0, |file| file.len())
    }

    /// Returns how often the body began.
    pub(crate) fn all_starts(&self) -> u64 {
        let files = fs::read_dir(self.folder.join("starts")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }

    /// Returns each customer's orders as they were placed.
    pub(crate) fn by_customer(&self) -> BTreeMap<String, Vec<String>> {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let mut orders: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (customer, order_no) in log.lines().filter_map(|line| line.split_once(' ')) {
            orders
                .entry(customer.to_owned())
                .or_default()
                .push(order_no.to_owned());
        }
        orders
    }

    /// Reads a producer's outbox repeatedly, and records the order in which its messages became
    /// readable.
    pub(crate) async fn follow(&self, idem: &Idem) -> Result<(), Error> {
        let mut known: HashSet<_> = self.read_first().into_iter().collect();
        loop {
            for queued in idem.outbox().pending(None, 2 * ACCEPTED).await? {
                let order_no = queued.message.key;
                if !known.contains(&order_no) {
                    self.append("read", &format!("{order_no}\n"));
                    known.insert(order_no);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn read_first(&self) -> Vec<String> {
        let read = fs::read_to_string(self.folder.join("read")).unwrap_or_default();
        read.lines().map(str::to_owned).collect()
    }

    /// Checks that a producer's orders were placed in the order in which it accepted them: orders
    /// accepted together are together, and those that became readable first come first.
    pub(crate) fn orders_are_in_sequence(&self) -> anyhow::Result<()> {
        let numbers = |orders: &[PlaceOrder]| {
            orders
                .iter()
                .map(|order| order.order_no.clone())
                .collect::<Vec<_>>()
        };
        let mut placed = self.by_customer();
        for customer in PATIENT {
            let placed = placed.remove(customer).unwrap_or_default();
            ensure!(
                placed == numbers(&orders_of(customer)),
                "{customer}: {placed:?}"
            );
        }
        let mut hasty = placed.remove(HASTY).unwrap_or_default();
        let together: HashSet<_> = orders_of(HASTY).chunks(AT_ONCE).map(numbers).collect();
        let found: HashSet<_> = hasty.chunks(AT_ONCE).map(<[_]>::to_vec).collect();
        ensure!(found == together, "{HASTY}: {hasty:?}");
        // Messages published between two reads were not seen.
        let mut read = self.read_first();
        read.retain(|order_no| hasty.contains(order_no));
        hasty.retain(|order_no| read.contains(order_no));
        ensure!(
            !read.is_empty() && read == hasty,
            "{HASTY}: read {read:?}, placed {hasty:?}"
        );
        Ok(())
    }

    /// A mark on disk, which other processes see.
    pub(crate) fn mark(&self, name: &str, text: &str) {
        let (new, old) = (
            self.folder.join(format!("{name}.new")),
            self.folder.join(name),
        );
        fs::write(&new, text).unwrap();
        fs::rename(new, old).unwrap();
    }

    pub(crate) fn marked(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }
}

/// The customers of a producer that send an order once the one before it is accepted.
pub(crate) const PATIENT: [&str; 4] = ["Ann", "Bob", "Eve", "Tim"];
/// A customer that sends many orders concurrently, and several in one call.
pub(crate) const HASTY: &str = "Zoe";
pub(crate) const SIDE_BY_SIDE: usize = 32;
pub(crate) const AT_ONCE: usize = 10;
const EACH: usize = 80;
const OF_HASTY: usize = SIDE_BY_SIDE * AT_ONCE * 2;
/// The number of orders that a producer accepts from all of them.
pub(crate) const ACCEPTED: usize = EACH * PATIENT.len() + OF_HASTY;

/// A customer's orders.
pub(crate) fn orders_of(customer: &str) -> Vec<PlaceOrder> {
    let orders = 0..if customer == HASTY { OF_HASTY } else { EACH };
    orders
        .map(|number| PlaceOrder::new(format!("{customer}-{number:04}")).by(customer))
        .collect()
}

/// Accepts an order, and enqueues it with the result.
#[idempotent(name = "orders.accept", key = order.key(), skip(idem, queue))]
pub(crate) async fn accept(idem: &Idem, queue: &str, order: PlaceOrder) -> anyhow::Result<()> {
    Ok(idem
        .outbox()
        .enqueue(OutboxMessage::from_keyed(queue, &order)?)?)
}

/// Accepts several orders in one call.
#[idempotent(name = "orders.accept_all", key = orders[0].key(), skip(idem, queue))]
pub(crate) async fn accept_all(
    idem: &Idem,
    queue: &str,
    orders: Vec<PlaceOrder>,
) -> anyhow::Result<()> {
    orders.iter().try_for_each(|order| {
        Ok(idem
            .outbox()
            .enqueue(OutboxMessage::from_keyed(queue, order)?)?)
    })
}

/// Gives the message back after each failed attempt.
#[idempotent(
    name = "orders.place",
    key = "order.order_no",
    retry = "redeliver",
    retries = 3,
    backoff(initial = "50ms", factor = 1, max = "50ms"),
    existing = find,
    skip(shop)
)]
pub(crate) async fn place(shop: Arc<Shop>, order: PlaceOrder) -> anyhow::Result<u32> {
    shop.place(&order)
}

/// Makes all attempts while it holds the message.
#[idempotent(
    name = "orders.place_inline",
    key = "order.order_no",
    retries = 3,
    backoff(initial = "50ms", factor = 1, max = "50ms"),
    existing = find,
    skip(shop)
)]
pub(crate) async fn place_inline(shop: Arc<Shop>, order: PlaceOrder) -> anyhow::Result<u32> {
    shop.place(&order)
}

/// Places the order and does not return.
#[idempotent(name = "orders.place", key = "order.order_no", retry = "redeliver", existing = find, skip(shop))]
pub(crate) async fn place_and_hang(shop: Arc<Shop>, order: PlaceOrder) -> anyhow::Result<u32> {
    shop.place(&order)?;
    shop.mark("in_the_body", "");
    std::future::pending().await
}

async fn find(shop: &Arc<Shop>, order: &PlaceOrder) -> anyhow::Result<Option<u32>> {
    Ok(shop.find(order))
}

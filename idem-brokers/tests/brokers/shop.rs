//! The business behind the consumers: a table of orders on the disk, which outlives the processes
//! that write it.

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

/// What the messages ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlaceOrder {
    pub(crate) order_no: String,
    pub(crate) customer: String,
    /// How many attempts fail.
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

    /// As its producer sends it.
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

/// One file an order, so that the second placing of it is seen.
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

    /// The body of every handler here.
    fn place(&self, order: &PlaceOrder) -> anyhow::Result<u32> {
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

    /// Appends and says how long the file is then.
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

    /// How many orders are in the table.
    pub(crate) fn placed(&self) -> usize {
        fs::read_dir(self.folder.join("orders")).unwrap().count()
    }

    /// Whether an order was placed that was there already.
    pub(crate) fn placed_twice(&self) -> bool {
        self.folder.join("twice").exists()
    }

    /// How often the body began for an order.
    pub(crate) fn starts(&self, order_no: &str) -> u64 {
        fs::metadata(self.folder.join("starts").join(order_no)).map_or(0, |file| file.len())
    }

    /// How often the body began.
    pub(crate) fn all_starts(&self) -> u64 {
        let files = fs::read_dir(self.folder.join("starts")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }

    /// The orders of each customer as they were placed.
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

    /// Reads a producer's outbox again and again, and writes down the order in which its messages
    /// could be read first.
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

    /// All that a producer accepted was placed in the order in which it was accepted: what was
    /// accepted at once is together, and what could be read first comes first.
    pub(crate) fn lanes_are_in_order(&self) -> anyhow::Result<()> {
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
        // What went out between two looks was not read.
        let mut read = self.read_first();
        read.retain(|order_no| hasty.contains(order_no));
        hasty.retain(|order_no| read.contains(order_no));
        ensure!(
            !read.is_empty() && read == hasty,
            "{HASTY}: read {read:?}, placed {hasty:?}"
        );
        Ok(())
    }

    /// A mark on the disk, for other processes to see.
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

/// Customers of a producer, who send an order when the one before it is accepted.
pub(crate) const PATIENT: [&str; 4] = ["Ann", "Bob", "Eve", "Tim"];
/// A customer who sends many orders side by side, and several at once.
pub(crate) const HASTY: &str = "Zoe";
pub(crate) const SIDE_BY_SIDE: usize = 32;
pub(crate) const AT_ONCE: usize = 10;
const EACH: usize = 80;
const OF_HASTY: usize = SIDE_BY_SIDE * AT_ONCE * 2;
/// How many orders a producer accepts of them all.
pub(crate) const ACCEPTED: usize = EACH * PATIENT.len() + OF_HASTY;

/// A customer's orders.
pub(crate) fn orders_of(customer: &str) -> Vec<PlaceOrder> {
    let orders = 0..if customer == HASTY { OF_HASTY } else { EACH };
    orders
        .map(|number| PlaceOrder::new(format!("{customer}-{number:04}")).by(customer))
        .collect()
}

/// The producer's end: the order goes out with the result.
#[idempotent(name = "orders.accept", key = order.key(), skip(idem, queue))]
pub(crate) async fn accept(idem: &Idem, queue: &str, order: PlaceOrder) -> anyhow::Result<()> {
    Ok(idem
        .outbox()
        .enqueue(OutboxMessage::from_keyed(queue, &order)?)?)
}

/// Several orders at once.
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

/// Each failed attempt gives the message back.
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

/// All attempts while the message is held.
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

//! `existing` looks in your business table before each attempt, so that work that was done but not
//! recorded is not done again.
//!
//! ```text
//! $ cargo run -p idem-examples --example existing
//! A-1001 in the table: false
//! inserting A-1001
//! A-1001 in the table: true
//! result: 2 pieces
//! rows: 1
//! ```

use anyhow::bail;
use idem_runtime::{Idem, idempotent};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    qty: u32,
}

/// Stands for a table in your database.
type Table = Mutex<Vec<Order>>;

/// Inserts the order and then fails, as when the connection breaks before the database answers, or
/// when the process is killed there. Idem cannot know that the row is in the table.
#[idempotent(
    name = "orders.place",
    key = "order_no",
    backoff(initial = "10ms"),
    existing = find_order,
    skip(table)
)]
async fn place_order(order: Order, table: &Table) -> anyhow::Result<Order> {
    println!("inserting {}", order.order_no);
    table.lock().push(order);
    bail!("the connection broke");
}

/// Takes the handler's arguments as references. An order that it finds is recorded as the handler's
/// result, and the body does not run.
async fn find_order(order: &Order, table: &Table) -> anyhow::Result<Option<Order>> {
    let rows = table.lock();
    let found = rows.iter().find(|row| row.order_no == order.order_no);
    println!("{} in the table: {}", order.order_no, found.is_some());
    Ok(found.cloned())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path())?;
    idem.install()?;

    let table = Table::default();
    let order = Order {
        order_no: "A-1001".into(),
        qty: 2,
    };
    let placed = place_order(order, &table).await?;
    println!("result: {} pieces", placed.qty);
    println!("rows: {}", table.lock().len());
    idem.close().await?;
    Ok(())
}

//! `existing` looks in your business table before each attempt, so that work which was done but not
//! recorded is not done again.
//!
//! ```text
//! $ cargo run -p idem-examples --example existing
//! attempt 1: order A-1001 is not in the table
//! attempt 1: inserts it, and then the connection breaks
//! attempt 2: order A-1001 is in the table
//! result: 2 of order A-1001
//! rows: 1
//! ```

use anyhow::bail;
use idem_runtime::{Idem, attempt, idempotent};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    qty: u32,
}

/// Stands for a table in your database.
type Table = Mutex<Vec<Order>>;

/// Inserts the order. It fails after the insert, as when the connection breaks before the database
/// has answered or the process is killed there: idem cannot know that the row is in the table.
#[idempotent(
    name = "orders.place",
    key = "order_no",
    backoff(initial = "10ms"),
    existing = find_order,
    skip(table)
)]
async fn place_order(order: Order, table: &Table) -> anyhow::Result<Order> {
    println!(
        "attempt {}: inserts it, and then the connection breaks",
        number()
    );
    table.lock().push(order);
    bail!("the connection broke");
}

/// Takes the handler's arguments as references. What it finds is recorded as the handler's result,
/// and the body does not run.
async fn find_order(order: &Order, table: &Table) -> anyhow::Result<Option<Order>> {
    let rows = table.lock();
    let found = rows.iter().find(|row| row.order_no == order.order_no);
    let is = if found.is_some() { "is" } else { "is not" };
    println!(
        "attempt {}: order {} {is} in the table",
        number(),
        order.order_no
    );
    Ok(found.cloned())
}

fn number() -> u32 {
    attempt().map_or(1, |attempt| attempt.number)
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
    println!("result: {} of order {}", placed.qty, placed.order_no);
    println!("rows: {}", table.lock().len());
    idem.close().await?;
    Ok(())
}

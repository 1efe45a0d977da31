//! A handler runs once for each key; a duplicate gets the recorded result.
//!
//! ```text
//! $ cargo run -p idem-examples --example first_handler
//! placing A-1001
//! first call: 2 of TEA-500 shipped
//! duplicate:  2 of TEA-500 shipped
//! ```

use idem_runtime::{Idem, idempotent};
use serde::{Deserialize, Serialize};

/// The message. The ledger stores it as JSON.
#[derive(Clone, Serialize, Deserialize)]
struct PlaceOrder {
    order_no: String,
    sku: String,
    qty: u32,
}

/// Runs once for each order number. The result is durable before the caller gets it.
#[idempotent(name = "orders.place", key = "order_no")]
async fn place_order(order: PlaceOrder) -> anyhow::Result<String> {
    println!("placing {}", order.order_no);
    Ok(format!("{} of {} shipped", order.qty, order.sku))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A service opens a permanent folder, such as `./data`, so that its results survive a restart.
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path())?;
    idem.install()?; // handlers use it from here on

    let order = PlaceOrder {
        order_no: "A-1001".into(),
        sku: "TEA-500".into(),
        qty: 2,
    };
    println!("first call: {}", place_order(order.clone()).await?);
    println!("duplicate:  {}", place_order(order).await?);
    idem.close().await?;
    Ok(())
}

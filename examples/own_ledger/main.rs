//! A ledger of one's own, in one file: [`FileLedger`] keeps every law of `idem_runtime::testing`.
//!
//! ```text
//! $ cargo run -p idem-examples --example own_ledger
//! placing A-1
//! A-1: 200
//! A-1: 200
//! A-1 after a restart: 200
//! ```

mod file;
mod ledger;

use std::path::Path;

use idem_runtime::{Idem, idempotent};
use ledger::FileLedger;

#[idempotent(name = "orders.place", key = "order_no")]
async fn place_order(order_no: String, qty: u32) -> anyhow::Result<u32> {
    println!("placing {order_no}");
    Ok(qty * 100)
}

async fn open(path: &Path) -> Result<Idem, idem_runtime::Error> {
    let path = path.to_owned();
    Idem::builder()
        .open_with(async move |context| FileLedger::open(&path, context.clock, context.instance))
        .await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ledger");

    let idem = open(&path).await?;
    for _ in 0..2 {
        let price = idem.scope(place_order("A-1".into(), 2)).await?;
        println!("A-1: {price}");
    }
    idem.close().await?;

    let idem = open(&path).await?;
    let price = idem.scope(place_order("A-1".into(), 2)).await?;
    println!("A-1 after a restart: {price}");
    idem.close().await?;
    Ok(())
}

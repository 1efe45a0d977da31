#![deny(warnings, missing_docs, unsafe_code, unused)]
//! The shapes a handler may have.

use idem_runtime::{Error, idempotent};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    order_no: String,
    lines: Vec<u32>,
}

#[idempotent(key = "order_no", retries = 5)]
async fn place_order(order: Order) -> Result<String, Error> {
    other(1).await?;
    Ok(order.order_no)
}

#[idempotent(key = "order.order_no, qty")]
async fn borrowed(order: &Order, qty: u32, note: &str) -> Result<usize, Error> {
    Ok(order.lines.len() + note.len())
}

#[idempotent(key = n)]
async fn other(n: u32) -> Result<u32, Error> {
    Ok(n)
}

#[idempotent(key = "order_no")]
fn blocking(order: Order) -> Result<String, Error> {
    Ok(order.order_no)
}

#[idempotent(key = "id")]
async fn mutable(id: u64, mut count: u32, total: &mut u32) -> Result<u32, Error> {
    count += 1;
    *total += count;
    Ok(count)
}

#[idempotent(key = "id, b")]
async fn destructured((id, mut a): (u64, u64), Order { order_no: b, .. }: Order) -> Result<u64, Error> {
    a += 1;
    Ok(id + a)
}

#[tokio::main]
async fn main() {
    let order = Order { order_no: "1".into(), lines: vec![] };
    place_order(order.clone()).await.unwrap();
    tokio::spawn(async move {
        let mut total = 0;
        borrowed(&order, 1, "x").await.unwrap();
        mutable(1, 1, &mut total).await.unwrap();
        destructured((1, 2), order.clone()).await.unwrap();
        blocking(order)
    });
}

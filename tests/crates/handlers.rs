//! Handlers of many shapes, the same in every edition.

use idem_runtime::{idempotent, Error};
use serde::{Deserialize, Serialize};

/// A message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    order_no: String,
    lines: Vec<u32>,
}

/// Owned, with parts of it used apart.
#[idempotent(key = "order_no", existing = find, timeout = "1s")]
pub async fn owned(mut order: Order) -> Result<String, Error> {
    order.lines.push(1);
    let lines = order.lines;
    drop(lines);
    Ok(order.order_no)
}

async fn find(order: &Order) -> Result<Option<String>, Error> {
    Ok(Some(order.order_no.clone()))
}

/// Destructured and mutable.
#[idempotent(key = "order_no, n")]
pub async fn destructured(
    Order {
        order_no,
        mut lines,
    }: Order,
    (n, m): (u32, u32),
    sum: &mut u32,
) -> Result<u32, Error> {
    lines.push(order_no.len() as u32);
    *sum += n + m;
    Ok(*sum)
}

/// Sync.
#[idempotent(key = "order.order_no", retries = 1)]
pub fn blocking(order: &Order, mut times: u32) -> Result<u32, Error> {
    times += order.lines.len() as u32;
    Ok(times)
}

/// Context.
pub struct Shop {
    idem: idem_runtime::Idem,
}

impl Shop {
    /// A method.
    #[idempotent(key = "id", runtime = self.idem)]
    pub async fn shared(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    /// A method that changes its own.
    #[idempotent(key = "id", runtime = self.idem.clone(), retries = 0)]
    pub async fn mutable(&mut self, id: u64) -> Result<u64, Error> {
        self.idem.clone().sweep().await?;
        Ok(id)
    }
}

/// The futures can be spawned.
pub fn all_are_send(order: &Order, mut shop: Shop) {
    fn is_send<T: Send>(_: T) {}
    let mut sum = 0;
    is_send(owned(order.clone()));
    is_send(destructured(order.clone(), (1, 2), &mut sum));
    is_send(shop.shared(1));
    is_send(shop.mutable(1));
    let _ = blocking(order, 1);
}

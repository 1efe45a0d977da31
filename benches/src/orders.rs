//! The work that is measured: a small order, placed.

use std::time::Instant;

use futures_util::stream::{self, StreamExt};
use idem_runtime::{Error, Idem, idempotent};
use serde::{Deserialize, Serialize};

/// A message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlaceOrder {
    /// The idempotency key.
    pub order_no: String,
    /// What is ordered.
    pub sku: String,
    /// How many of it.
    pub qty: u32,
}

/// A result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub order_no: String,
    /// What was ordered.
    pub sku: String,
    /// How many of it.
    pub qty: u32,
    /// What it costs.
    pub total_cents: u64,
}

/// The handler: it does nothing that takes time.
///
/// # Errors
/// Those of idem.
#[idempotent(name = "orders.place", key = "order_no")]
pub async fn place_order(order: PlaceOrder) -> Result<Order, Error> {
    Ok(placed(order))
}

/// The handler of many messages.
///
/// # Errors
/// Those of idem, for each message.
#[idempotent(name = "orders.place_many", each = "order_no")]
pub async fn place_orders(orders: Vec<PlaceOrder>) -> Vec<Result<Order, Error>> {
    orders.into_iter().map(|order| Ok(placed(order))).collect()
}

/// The message with this number. Order numbers as shops have them: not in the order of their bytes.
pub fn delivery(number: u64) -> PlaceOrder {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    PlaceOrder {
        order_no: format!("A-{scattered:016x}"),
        sku: "TEA-500".to_owned(),
        qty: 2,
    }
}

/// The result of a message.
pub fn placed(order: PlaceOrder) -> Order {
    let PlaceOrder { order_no, sku, qty } = order;
    Order {
        order_no,
        sku,
        qty,
        total_cents: u64::from(qty) * 1250,
    }
}

/// Makes calls with these numbers, each in a task of its own. Returns how many a second.
pub async fn rate<F: Future<Output = ()> + Send + 'static>(
    numbers: std::ops::Range<u64>,
    callers: usize,
    call: impl Fn(u64) -> F,
) -> f64 {
    let (start, count) = (Instant::now(), numbers.end - numbers.start);
    let calls = stream::iter(numbers).map(|number| tokio::spawn(call(number)));
    // A call that panics fails the bench.
    calls
        .buffer_unordered(callers)
        .for_each(|ended| async { ended.unwrap_or_else(|error| panic!("{error}")) })
        .await;
    count as f64 / start.elapsed().as_secs_f64()
}

/// First calls of the handler.
pub async fn first_calls(idem: &Idem, numbers: std::ops::Range<u64>, callers: usize) -> f64 {
    rate(numbers, callers, |number| {
        let idem = idem.clone();
        async move {
            let placed = idem.scope(place_order(delivery(number))).await;
            assert!(placed.is_ok(), "{placed:?}");
        }
    })
    .await
}

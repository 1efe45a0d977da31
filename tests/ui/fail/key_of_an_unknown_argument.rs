use idem_runtime::{Error, idempotent};

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Order {
    order_no: String,
}

#[idempotent(key = "ordre.order_no")]
async fn handle(order: Order, quantity: u32) -> Result<u32, Error> {
    drop(order);
    Ok(quantity)
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[derive(serde::Serialize)]
struct Order {
    no: u64,
}

#[idempotent(each = "no")]
async fn handle(orders: Vec<Order>) -> Vec<Result<u64, Error>> {
    orders.iter().map(|order| Ok(order.no)).collect()
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[derive(serde::Serialize)]
struct Order {
    id: u64,
}

#[idempotent(key = "id")]
async fn handle(order: Order) -> Result<u64, Error> {
    Ok(order.id)
}

fn main() {}

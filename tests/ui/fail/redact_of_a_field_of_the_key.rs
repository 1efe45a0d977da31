use idem_runtime::{Error, idempotent};

#[derive(Clone, serde::Serialize)]
struct Order {
    id: u64,
    card_no: String,
}

#[idempotent(key = "order.card_no", redact("card_no"))]
async fn handle(order: Order) -> Result<u64, Error> {
    Ok(order.id)
}

fn main() {}

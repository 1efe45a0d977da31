use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", redact("order.card.no", order.card))]
async fn handle(id: u64, order: serde_json::Value) -> Result<u64, Error> {
    drop(order);
    Ok(id)
}

fn main() {}

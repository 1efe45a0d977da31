use idem_runtime::{Error, idempotent};

#[derive(Clone, serde::Serialize)]
struct Order {
    id: u64,
    card_no: String,
}

#[idempotent(key = "id", fingerprint(order), redact(order.card_no))]
async fn handle(order: Order, id: u64) -> Result<u64, Error> {
    Ok(order.id + id)
}

fn main() {}

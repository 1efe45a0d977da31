use idem_runtime::{Error, idempotent};

#[derive(Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    id: u64,
    card_no: String,
}

#[idempotent(key = "card_no", redact("cardNo"))]
async fn handle(order: Order) -> Result<u64, Error> {
    Ok(order.id)
}

fn main() {}

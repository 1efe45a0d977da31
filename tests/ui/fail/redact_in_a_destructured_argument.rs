use idem_runtime::{Error, idempotent};

#[derive(Clone, serde::Serialize)]
struct Order {
    id: u64,
    card_no: String,
}

#[idempotent(key = "id", redact(card_no))]
async fn handle(Order { id, card_no }: Order) -> Result<u64, Error> {
    drop(card_no);
    Ok(id)
}

fn main() {}

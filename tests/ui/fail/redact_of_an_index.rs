use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", redact("cards[0].no"))]
async fn handle(id: u64, cards: serde_json::Value) -> Result<u64, Error> {
    drop(cards);
    Ok(id)
}

fn main() {}

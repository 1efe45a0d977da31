use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", redact(card_nr))]
async fn handle(id: u64, card_no: &str) -> Result<u64, Error> {
    let _ = card_no;
    Ok(id)
}

fn main() {}

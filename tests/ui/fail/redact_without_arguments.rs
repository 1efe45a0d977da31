use idem_runtime::{Error, idempotent};

#[idempotent(key = 1.to_string(), redact(card_no))]
async fn handle() -> Result<u64, Error> {
    Ok(1)
}

fn main() {}

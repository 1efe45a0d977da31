use idem_runtime::{Error, idempotent};

struct Receipt;

#[idempotent(key = "id")]
fn handle(id: u64) -> Result<Receipt, Error> {
    drop(id);
    Ok(Receipt)
}

fn main() {}

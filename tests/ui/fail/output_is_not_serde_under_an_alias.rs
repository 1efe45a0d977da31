use idem_runtime::{Error, idempotent};

struct Receipt;

type Answer = Result<Receipt, Error>;

#[idempotent(key = "id")]
fn handle(id: u64) -> Answer {
    drop(id);
    Ok(Receipt)
}

fn main() {}

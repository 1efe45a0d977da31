use idem_runtime::{Error, idempotent};

#[idempotent(key = "id")]
#[idempotent(key = "id", retries = 5)]
fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

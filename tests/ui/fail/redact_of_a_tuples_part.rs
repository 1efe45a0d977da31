use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", redact(pair.1))]
async fn handle(id: u64, pair: (u64, u64)) -> Result<u64, Error> {
    Ok(id + pair.1)
}

fn main() {}

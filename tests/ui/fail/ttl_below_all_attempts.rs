use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", retries = 3, timeout = "1m", ttl = "2m")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

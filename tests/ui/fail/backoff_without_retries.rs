use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", retries = 0, backoff(initial = "1s"))]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", backoff(initial = "1m", max = "10s"))]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

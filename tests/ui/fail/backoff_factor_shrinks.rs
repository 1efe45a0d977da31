use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", backoff(factor = 0.5))]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

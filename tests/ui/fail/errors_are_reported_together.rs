use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", retries = -1, timeout = 10, in_flight = "queue")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

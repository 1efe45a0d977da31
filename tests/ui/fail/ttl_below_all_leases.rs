use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", retries = 1, lease_max = "4d")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

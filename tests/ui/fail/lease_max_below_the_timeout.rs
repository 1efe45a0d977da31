use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", timeout = "10m", lease_max = "5m")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

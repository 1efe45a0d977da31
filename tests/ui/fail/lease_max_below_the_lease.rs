use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", lease_max = "20s")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", lease_max = 3600)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

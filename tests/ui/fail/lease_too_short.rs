use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", lease = "10ms")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

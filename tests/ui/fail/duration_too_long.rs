use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", ttl = "99999999999d")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", events = "placed")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

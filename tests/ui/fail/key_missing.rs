use idem_runtime::{Error, idempotent};

#[idempotent(retries = 3)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

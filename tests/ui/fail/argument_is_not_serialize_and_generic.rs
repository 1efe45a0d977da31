use idem_runtime::{Error, idempotent};

#[idempotent(key = "id")]
async fn handle<T: Clone>(extra: T, id: u64) -> Result<u64, Error> {
    drop(extra);
    Ok(id)
}

fn main() {}

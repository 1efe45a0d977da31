use idem_runtime::{Error, idempotent};

fn today(_: serde_json::Value) -> Result<u64, String> {
    Ok(1)
}

#[idempotent(key = "id", version = 2, upgrade = today)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

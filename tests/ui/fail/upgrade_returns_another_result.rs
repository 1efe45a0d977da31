use idem_runtime::{Error, idempotent};

fn today(_: u32, _: serde_json::Value) -> Result<String, String> {
    Ok(String::new())
}

#[idempotent(key = "id", version = 2, upgrade = today)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[idempotent(key = "id")]
async fn handle(id: &str) -> Result<&str, Error> {
    Ok(id)
}

fn main() {}

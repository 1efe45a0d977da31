use idem_runtime::{Error, idempotent};

#[idempotent(key = "id")]
fn handle(id: impl std::fmt::Display + serde::Serialize) -> Result<String, Error> {
    Ok(id.to_string())
}

fn main() {}

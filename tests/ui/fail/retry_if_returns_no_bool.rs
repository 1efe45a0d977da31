use idem_runtime::{Error, idempotent};

fn is_transient(_: &Error) -> u32 {
    1
}

#[idempotent(key = "id", retry_if = is_transient)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

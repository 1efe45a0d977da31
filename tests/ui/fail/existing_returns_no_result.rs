use idem_runtime::{Error, idempotent};

fn find(_: &u64) -> Option<u64> {
    None
}

#[idempotent(key = "id", existing = find)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

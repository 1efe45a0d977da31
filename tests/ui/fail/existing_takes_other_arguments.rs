use idem_runtime::{Error, idempotent};

async fn find(_: &str) -> Result<Option<u64>, Error> {
    Ok(None)
}

#[idempotent(key = "id", existing = find)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

use idem_runtime::{Error, idempotent};

async fn find(_: &u64) -> Result<Option<u64>, Error> {
    Ok(None)
}

#[idempotent(key = "id", existing = find)]
fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[derive(Clone)]
struct Db;

#[idempotent(key = "id")]
async fn handle(db: &Db, id: u64) -> Result<u64, Error> {
    let _ = db;
    Ok(id)
}

fn main() {}

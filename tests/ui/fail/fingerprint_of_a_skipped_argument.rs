use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", skip(db), fingerprint(id, db))]
async fn handle(id: u64, db: &u64) -> Result<u64, Error> {
    Ok(id + db)
}

fn main() {}

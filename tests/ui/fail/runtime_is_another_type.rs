use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", runtime = db, skip(db))]
async fn handle(db: &String, id: u64) -> Result<usize, Error> {
    Ok(db.len() + id as usize)
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[idempotent(key = "order_no", skip(db))]
async fn handle(db: &u64) -> Result<u64, Error> {
    Ok(*db)
}

fn main() {}

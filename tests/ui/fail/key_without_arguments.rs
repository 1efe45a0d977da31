use idem_runtime::{Error, idempotent};

#[idempotent(key = "order_no")]
async fn handle() -> Result<u64, Error> {
    Ok(1)
}

fn main() {}

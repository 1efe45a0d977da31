use idem_runtime::{Error, idempotent};

#[idempotent(each = "id")]
async fn handle(id: u64) -> Vec<Result<u64, Error>> {
    vec![Ok(id)]
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[idempotent(key = "ids")]
async fn handle(ids: Vec<u64>) -> Vec<Result<u64, Error>> {
    ids.into_iter().map(Ok).collect()
}

fn main() {}

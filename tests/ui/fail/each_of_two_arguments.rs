use idem_runtime::{Error, idempotent};

#[idempotent(each = "ids")]
async fn handle(ids: Vec<u64>, tenant: String) -> Vec<Result<u64, Error>> {
    drop(tenant);
    ids.into_iter().map(Ok).collect()
}

fn main() {}

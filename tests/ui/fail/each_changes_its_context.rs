use idem_runtime::{Error, idempotent};

#[idempotent(each = "ids", skip(seen))]
async fn handle(ids: Vec<u64>, seen: &mut Vec<u64>) -> Vec<Result<u64, Error>> {
    seen.extend(&ids);
    ids.into_iter().map(Ok).collect()
}

fn main() {}

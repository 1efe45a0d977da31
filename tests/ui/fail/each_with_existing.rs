use idem_runtime::{Error, idempotent};

#[idempotent(each = "ids", existing = find)]
async fn handle(ids: Vec<u64>) -> Vec<Result<u64, Error>> {
    ids.into_iter().map(Ok).collect()
}

async fn find(_: &u64) -> Result<Option<u64>, Error> {
    Ok(None)
}

fn main() {}

use idem_runtime::{Error, idempotent};

fn placed(id: &u64) -> Vec<String> {
    vec![id.to_string()]
}

#[idempotent(key = "id", events = placed)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

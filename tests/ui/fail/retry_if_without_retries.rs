use idem_runtime::{Error, idempotent};

pub fn always(_: &Error) -> bool {
    true
}

#[idempotent(key = "id", retries = 0, retry_if = always)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[idempotent(key = "id")]
async fn handle(id: u64) -> Result<u64, Error> {
    let n: u64 = "1".parse::<u64>()?;
    Ok(id + n)
}

fn main() {}

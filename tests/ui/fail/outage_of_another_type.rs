use idem_runtime::{Error, idempotent};

fn is_away(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some()
}

#[idempotent(key = "id", outage = is_away)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

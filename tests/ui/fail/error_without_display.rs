use idem_runtime::{Error, idempotent};

struct Declined;

impl From<Error> for Declined {
    fn from(_: Error) -> Self {
        Self
    }
}

#[idempotent(key = "id")]
async fn handle(id: u64) -> Result<u64, Declined> {
    Ok(id)
}

fn main() {}

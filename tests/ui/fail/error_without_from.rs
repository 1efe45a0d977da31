use idem_runtime::idempotent;
use std::fmt;

#[derive(Debug)]
struct Declined;

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("declined")
    }
}

#[idempotent(key = "id")]
async fn handle(id: u64) -> Result<u64, Declined> {
    Ok(id)
}

fn main() {}

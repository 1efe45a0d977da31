use idem_runtime::{Error, idempotent};

struct Shop;

#[idempotent(key = "id")]
impl Shop {
    pub fn handle(id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

fn main() {}

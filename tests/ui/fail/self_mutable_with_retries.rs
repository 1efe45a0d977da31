use idem_runtime::{Error, idempotent};

struct Shop;

impl Shop {
    #[idempotent(key = "id", retries = 2)]
    pub async fn handle(&mut self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

fn main() {}

use idem_runtime::{Error, idempotent};

struct Shop;

impl Shop {
    #[idempotent(key = "id")]
    pub async fn handle(self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

fn main() {}

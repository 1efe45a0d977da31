use idem_runtime::{Error, idempotent};

use std::sync::Arc;

struct Shop;

impl Shop {
    #[idempotent(key = "id")]
    pub async fn handle(self: Arc<Self>, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

fn main() {}

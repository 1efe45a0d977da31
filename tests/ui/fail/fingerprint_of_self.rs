use idem_runtime::{Error, idempotent};

struct Shop {
    pub id: u64,
}

impl Shop {
    #[idempotent(key = "id", fingerprint(self.id))]
    pub async fn handle(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

fn main() {}

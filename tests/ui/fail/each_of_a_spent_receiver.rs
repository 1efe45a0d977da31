use idem_runtime::{Error, idempotent};

struct Shop;

impl Shop {
    #[idempotent(each = "ids", retries = 0)]
    async fn handle(self, ids: Vec<u64>) -> Vec<Result<u64, Error>> {
        ids.into_iter().map(Ok).collect()
    }
}

fn main() {}

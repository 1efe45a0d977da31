use idem_runtime::{Error, idempotent};

trait Shop {
    #[idempotent(key = "id")]
    fn handle(&self, id: u64) -> Result<u64, Error>;
}

fn main() {}

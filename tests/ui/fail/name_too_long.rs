use idem_runtime::{Error, idempotent};

#[idempotent(key = "id", name = "shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.shop.")]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

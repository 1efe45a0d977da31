use idem_runtime::{Error, idempotent};

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Order {
    order_no: String,
}

#[idempotent(key = "order")]
async fn handle(order: Order) -> Result<(), Error> {
    drop(order);
    Ok(())
}

fn main() {}

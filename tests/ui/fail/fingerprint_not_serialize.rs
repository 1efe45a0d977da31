use idem_runtime::{Error, idempotent};

#[derive(Clone, serde::Serialize)]
struct Order {
    id: u64,
    #[serde(skip)]
    seen: std::cell::OnceCell<std::thread::Thread>,
}

#[idempotent(key = "id", fingerprint(seen))]
async fn handle(order: Order) -> Result<bool, Error> {
    Ok(order.seen.get().is_some())
}

fn main() {}

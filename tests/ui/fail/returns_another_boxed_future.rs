use idem_runtime::{Error, idempotent};

use std::pin::Pin;

#[idempotent(key = "id")]
fn handle(id: u64) -> Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>> {
    let future = async move { Ok(id) };
    Box::pin(future)
}

fn main() {}

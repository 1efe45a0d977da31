use idem_runtime::{Error, idempotent, outbox::OutboxMessage};

fn placed(id: &u64) -> serde_json::Result<OutboxMessage> {
    OutboxMessage::json("orders.placed", id.to_string(), id)
}

#[idempotent(key = "id", events = placed)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

use idem_runtime::{Error, idempotent, outbox::OutboxMessage};

fn placed(_: &String) -> Option<OutboxMessage> {
    None
}

#[idempotent(key = "id", events = placed)]
async fn handle(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

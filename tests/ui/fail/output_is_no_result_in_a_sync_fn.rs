use idem_runtime::idempotent;

#[idempotent(key = "id")]
fn handle(id: u64) -> u64 {
    id
}

fn main() {}

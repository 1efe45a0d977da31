use idem_runtime::idempotent;

struct Receipt;
struct Declined;

#[idempotent(key = "id")]
async fn handle(id: u64) -> Result<Receipt, Declined> {
    drop(id);
    Ok(Receipt)
}

fn main() {}

use idem_runtime::idempotent;

#[idempotent(each = "ids")]
async fn handle(ids: Vec<u64>) -> Vec<u64> {
    ids
}

fn main() {}

use idem_runtime::idempotent;

#[idempotent(key = "id")]
fn handle(id: u64) {
    println!("{id}");
}

fn main() {}

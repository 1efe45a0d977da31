use idem_runtime::{Error, idempotent};

#[idempotent(name = "orders.place", key = "tenant, order_no", issued = "order_no")]
async fn place(tenant: String, order_no: String) -> Result<(), Error> {
    Ok(drop((tenant, order_no)))
}

fn main() {}

use idem_runtime::{Error, idempotent};

#[idempotent(name = "orders.place", key = "order_no", issued = order_no)]
async fn place(order_no: String) -> Result<(), Error> {
    Ok(drop(order_no))
}

#[idempotent(name = "orders.pay", key = "order_no", issued = "")]
async fn pay(order_no: String) -> Result<(), Error> {
    Ok(drop(order_no))
}

fn main() {}

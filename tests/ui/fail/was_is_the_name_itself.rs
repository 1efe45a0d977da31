use idem_runtime::{Error, idempotent};

#[idempotent(name = "orders.place", was("place_order", "orders.place"), key = "order_no")]
fn place(order_no: String) -> Result<(), Error> {
    Ok(drop(order_no))
}

#[idempotent(name = "orders.pay", was(pay_order), key = "order_no")]
fn pay(order_no: String) -> Result<(), Error> {
    Ok(drop(order_no))
}

fn main() {}

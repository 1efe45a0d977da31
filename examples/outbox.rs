//! A message that a handler puts into the outbox is recorded in one write with the result, and sent
//! by a relay.
//!
//! ```text
//! $ cargo run -p idem-examples --example outbox
//! A-1: placed
//! A-2: out of stock
//! A-1: placed
//! sent to orders.placed: {"order_no":"A-1"}
//! still in the outbox: 0
//! ```

use anyhow::ensure;
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::{Idem, idempotent};
use serde_json::json;

/// The event goes out when the order is placed, and only then: a failed attempt sends nothing, and a
/// duplicate sends nothing more.
#[idempotent(name = "orders.place", key = "order_no", retries = 0, skip(idem))]
async fn place_order(order_no: String, idem: &Idem) -> anyhow::Result<()> {
    let body = json!({ "order_no": order_no });
    idem.outbox()
        .enqueue(OutboxMessage::json("orders.placed", &order_no, &body)?)?;
    ensure!(order_no != "A-2", "out of stock");
    Ok(())
}

/// Sends the messages in the outbox, oldest first, and then removes them. If the process dies between
/// the two, a message is sent again with the same id, by which its consumer knows the copy.
/// `idem_brokers` has a relay for each broker.
async fn relay(idem: &Idem) -> anyhow::Result<()> {
    let outbox = idem.outbox();
    loop {
        let batch = outbox.pending(None, 100).await?;
        if batch.is_empty() {
            return Ok(()); // a service waits here with `outbox.changed().await`
        }
        for entry in &batch {
            // Publish it here, with `entry.id` as the message's id.
            let body = String::from_utf8_lossy(&entry.message.payload);
            println!("sent to {}: {body}", entry.message.destination);
        }
        outbox.acknowledge(&batch).await?;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path())?;
    idem.install()?;

    for order_no in ["A-1", "A-2", "A-1"] {
        match place_order(order_no.into(), &idem).await {
            Ok(()) => println!("{order_no}: placed"),
            Err(error) => println!("{order_no}: {error}"),
        }
    }
    relay(&idem).await?;
    println!(
        "still in the outbox: {}",
        idem.outbox().pending(None, 100).await?.len()
    );
    idem.close().await?;
    Ok(())
}

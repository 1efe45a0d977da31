//! A dead letter keeps its message and its errors for a person, who edits and runs it, redrives it,
//! or discards it.
//!
//! ```text
//! $ cargo run -p idem-examples --example dead_letters
//! A-1: 0 pieces ordered: {"order":{"order_no":"A-1","qty":0}}
//! A-2: 0 pieces ordered: {"order":{"order_no":"A-2","qty":0}}
//! A-3: 0 pieces ordered: {"order":{"order_no":"A-3","qty":0}}
//! A-1: edited and run: "3 pieces"
//! A-2: redriven, next call: "2 pieces"
//! A-3: discarded, next call runs: false
//! open letters: 0
//! ```

use anyhow::{bail, ensure};
use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::{Filter, Idem, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Serialize, Deserialize)]
struct PlaceOrder {
    order_no: String,
    qty: u32,
}

/// One failed attempt makes a dead letter.
#[idempotent(name = "orders.place", key = "order_no", retries = 0)]
async fn place_order(order: PlaceOrder) -> anyhow::Result<String> {
    ensure!(order.qty > 0, "0 pieces ordered");
    Ok(format!("{} pieces", order.qty))
}

async fn place(order_no: &str, qty: u32) -> anyhow::Result<String> {
    let order_no = order_no.into();
    place_order(PlaceOrder { order_no, qty }).await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path())?;
    idem.install()?;
    for order_no in ["A-1", "A-2", "A-3"] {
        ensure!(place(order_no, 0).await.is_err());
    }

    // See: the open letters, newest first. Their histories show what ann does with them.
    let letters = idem.dead_letters().by("ann");
    let open = letters.list(&Filter::default()).await?;
    let [third, second, first] = &open[..] else {
        bail!("{} open letters", open.len());
    };
    for letter in [first, second, third] {
        let error = letter.last_error().unwrap_or_default();
        println!("{}: {error}: {}", letter.key, letter.payload.as_str());
    }

    // Edit and run: the handler runs here and now, with the new payload.
    idem.register_handler("orders.place", place_order);
    let payload = json!({ "order": { "order_no": "A-1", "qty": 3 } });
    letters.edit(&first.id, payload, "three were meant").await?;
    if let RunOutcome::Done(result) = letters.run(&first.id).await? {
        println!("A-1: edited and run: {}", result.as_str());
    }
    // Redrive: the next message with this key runs, with a new budget.
    letters.redrive(&second.id).await?;
    println!("A-2: redriven, next call: {:?}", place("A-2", 2).await?);
    // Discard: messages with this key do not run any more.
    letters.discard(&third.id, "a test order").await?;
    let runs = place("A-3", 2).await.is_ok();
    println!("A-3: discarded, next call runs: {runs}");
    println!("open letters: {}", letters.count_open().await?);
    idem.close().await?;
    Ok(())
}

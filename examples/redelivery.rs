//! Behind a broker, `retry = "redeliver"` returns after each attempt, and `deliver` says whether to
//! ack the message or to let it come again.
//!
//! ```text
//! $ cargo run -p idem-examples --example redelivery
//! message 1: shipping A-1001, attempt 1
//! message 1: comes again
//! message 2: refused, buried as a dead letter, ack
//! message 3: shipping A-1001, attempt 2
//! message 3: ack
//! message 1: ack
//! ```

use std::collections::VecDeque;

use anyhow::{bail, ensure};
use idem_runtime::{Idem, Origin, Verdict, attempt, idempotent};
use tokio::time::sleep;

/// One attempt for each delivery. The budget is counted in the ledger, whichever process gets the
/// message next.
#[idempotent(
    name = "orders.ship",
    key = "order_no",
    retries = 3,
    retry = "redeliver",
    backoff(initial = "10ms"),
    skip(id)
)]
async fn ship(order_no: String, id: u32) -> anyhow::Result<()> {
    let number = attempt().map_or(1, |attempt| attempt.number);
    println!("message {id}: shipping {order_no}, attempt {number}");
    ensure!(number > 1, "the warehouse does not answer");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path())?;

    // Plays the broker: messages 1 and 3 are the same order, message 2 has no order number.
    let mut queue = VecDeque::from([(1, "A-1001"), (2, ""), (3, "A-1001")]);
    while let Some((id, order_no)) = queue.pop_front() {
        // A dead letter shows where its message came from.
        let origin = Origin::new("my-broker", "orders").message_id(id.to_string());
        let delivered = idem
            .deliver(origin.clone(), ship(order_no.into(), id))
            .await;
        match delivered.verdict {
            // The result or the dead letter is durable.
            Verdict::Settled => println!("message {id}: ack"),
            // An attempt failed, or another consumer has the message. A broker redelivers it.
            Verdict::Again { after } => {
                println!("message {id}: comes again");
                sleep(after).await;
                queue.push_back((id, order_no));
            }
            // No other delivery can mend the message: it is kept for a person.
            Verdict::Refused(refusal) => {
                idem.bury_refused(&refusal, &id.to_string(), order_no.as_bytes(), origin)
                    .await?;
                println!("message {id}: refused, buried as a dead letter, ack");
            }
            // The ledger cannot record anything now: take no more messages for a while.
            other => bail!("message {id}: {other:?}"),
        }
    }
    idem.close().await?;
    Ok(())
}

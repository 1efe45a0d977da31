//! Behind a broker, `retry = "redeliver"` makes one attempt per delivery, and `deliver` tells whether
//! to ack the message or to let the broker redeliver it.
//!
//! ```text
//! $ cargo run -p idem-examples --example redelivery
//! message 1: shipping A-1001, attempt 1
//! message 1: redeliver
//! message 2: refused, now a dead letter, ack
//! message 3: shipping A-1001, attempt 2
//! message 3: ack
//! message 1: ack
//! ```

use std::collections::VecDeque;

use anyhow::{bail, ensure};
use idem_runtime::{Idem, Origin, Verdict, attempt, idempotent};
use tokio::time::sleep;

/// The warehouse answers at the second attempt. The ledger counts the attempts of all deliveries.
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

    // Stands for the broker: messages 1 and 3 are the same order, message 2 has no order number.
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
            // The attempt failed, or the message is running elsewhere. A broker waits by itself.
            Verdict::Again { after } => {
                println!("message {id}: redeliver");
                sleep(after).await;
                queue.push_back((id, order_no));
            }
            // No delivery of this message can succeed: keep it for a person.
            Verdict::Refused(refusal) => {
                idem.bury_refused(&refusal, &id.to_string(), order_no.as_bytes(), origin)
                    .await?;
                println!("message {id}: refused, now a dead letter, ack");
            }
            // The ledger cannot record anything now: a service pauses and redelivers.
            other => bail!("message {id}: {other:?}"),
        }
    }
    idem.close().await?;
    Ok(())
}

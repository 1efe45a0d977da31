//! Handlers of many messages: each message has its own claim, attempts, result and letter, and those that
//! are to run share a body.

mod gathered;
mod lists;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::protocol::Step;
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, open_on, temporary,
};
use idem_runtime::{
    Batches, Error, Filter, Idem, Origin, Verdict, attempt, idempotent, one, watch_replay,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::common::{Body, Folder, Log, Oops, on, only_letter, poll_once, soon};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    no: String,
    qty: u32,
}

fn order(no: u32) -> Order {
    Order {
        no: no.to_string(),
        qty: 1,
    }
}

fn numbers(orders: &[Order]) -> Vec<String> {
    orders.iter().map(|order| order.no.clone()).collect()
}

type Bodies = Arc<Log<Vec<String>>>;

/// Notes what each body was given. An order of 13 fails, one of 99 panics.
#[idempotent(
    name = "batches.place",
    each = "no",
    retries = 2,
    backoff(initial = "0ms"),
    skip(bodies)
)]
async fn place(orders: Vec<Order>, bodies: Bodies) -> Vec<Result<String, Oops>> {
    bodies.push(numbers(&orders));
    assert_eq!(attempt(), None);
    assert!(orders.iter().all(|order| order.qty != 99), "99 of them");
    let placed = orders.iter().map(|order| match order.qty {
        13 => Err(Oops::own(format!("{} is unlucky", order.no))),
        qty => Ok(format!("{} × {qty}", order.no)),
    });
    placed.collect()
}

/// The results as texts, in the order of the messages.
fn texts(results: Vec<Result<String, Oops>>) -> Vec<String> {
    let texts = results.into_iter().map(|result| match result {
        Ok(placed) => placed,
        Err(error) => format!("error: {error}"),
    });
    texts.collect()
}

#[idempotent(
    name = "batches.slow",
    each = "numbers",
    retries = 0,
    timeout = "10s",
    skip(body)
)]
async fn slow(numbers: Vec<u32>, body: &Body) -> Vec<Result<u32, Oops>> {
    body.run().await;
    numbers.into_iter().map(Ok).collect()
}

/// The ledger's answer to the claim of `late` comes once the gate is open.
fn with_a_late_answer(clock: &ManualClock, gate: &watch::Sender<bool>) -> Idem {
    let ledger = MemoryLedger::new(Arc::new(clock.clone())).of_one_process();
    let gate = gate.subscribe();
    let ledger = UnreliableLedger::new(ledger, move |call| match call {
        LedgerCall::Step(id, Step::Claim(_)) if &*id.key == "7" => {
            let mut gate = gate.clone();
            Some(LedgerFault::LateAnswer(Box::pin(async move {
                drop(gate.wait_for(|open| *open).await);
            })))
        }
        _ => None,
    });
    open_on(Idem::builder().clock(Arc::new(clock.clone())), ledger).unwrap()
}

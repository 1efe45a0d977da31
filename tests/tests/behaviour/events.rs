//! `events` makes the messages of a result, whichever way the result came about.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};

use idem_runtime::dead_letters::AttemptOutcome;
use idem_runtime::ledger::transaction;
use idem_runtime::testing::temporary;
use idem_runtime::{Error, Idem, idempotent, outbox::OutboxMessage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::common::{Body, Oops, only_letter};
use crate::transactions::{Carried, Shop};

async fn keys(idem: &Idem) -> Vec<String> {
    let pending = idem.outbox().pending(None, 100).await.unwrap();
    pending.into_iter().map(|entry| entry.message.key).collect()
}

fn event(key: impl Display) -> OutboxMessage {
    OutboxMessage::new("orders.placed", key.to_string(), "{}")
}

fn placed(start: &u32) -> Vec<OutboxMessage> {
    vec![event(format!("placed {start}")), event("told")]
}

async fn find(_: &str, found: &Option<u32>, _: &Body, _: &Idem) -> Result<Option<u32>, Oops> {
    Ok(*found)
}

/// Fails its first attempt, after it has enqueued a message of its own.
#[idempotent(
    name = "events.place",
    key = "id",
    retries = 1,
    backoff(initial = "0ms"),
    existing = find,
    events = placed,
    skip(found, body, idem)
)]
async fn place(id: &str, found: Option<u32>, body: &Body, idem: &Idem) -> Result<u32, Oops> {
    let start = body.start();
    idem.outbox().enqueue(event(format!("{id} {start}")))?;
    if start == 1 {
        return Err(Oops::own("no stock"));
    }
    Ok(start)
}

#[tokio::test]
async fn a_result_sends_its_messages_once_after_those_of_the_body() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    for _ in 0..2 {
        let placed = idem.scope(place("A", None, &body, &idem)).await;
        assert_eq!(placed.unwrap(), 2);
    }
    assert_eq!(keys(&idem).await, ["A 2", "placed 2", "told"]);
}

#[tokio::test]
async fn what_existing_finds_sends_them_too() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    for _ in 0..2 {
        let found = idem.scope(place("A", Some(7), &body, &idem)).await;
        assert_eq!(found.unwrap(), 7);
    }
    assert_eq!(
        (body.starts(), keys(&idem).await),
        (0, vec!["placed 7".to_owned(), "told".to_owned()])
    );
}

/// Panics with 1, fails with 2, sends more than fits with 3.
fn fussy(start: &u32) -> Result<Option<OutboxMessage>, Oops> {
    match start {
        1 => panic!("no words"),
        2 => Err(Oops::own("no event")),
        3 => Ok(Some(OutboxMessage::new(
            "orders.placed",
            "large",
            vec![0; 2 << 20],
        ))),
        _ => Ok(Some(event(start))),
    }
}

#[idempotent(
    name = "events.fussy", key = "id", retries = 2, backoff(initial = "0ms"), events = fussy, skip(body)
)]
fn count(id: &str, body: &Body) -> Result<u32, Oops> {
    Ok(body.start())
}

#[tokio::test]
async fn a_function_that_fails_is_a_failed_attempt() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let error = idem.sync_scope(|| count("A", &body)).unwrap_err();
    assert!(
        matches!(error, Oops::Idem(Error::OutboxMessageTooLarge { .. })),
        "{error:?}"
    );
    let letter = only_letter(&idem).await;
    let attempts: Vec<_> = letter
        .attempts
        .iter()
        .map(|attempt| attempt.outcome)
        .collect();
    let (panicked, failed) = (AttemptOutcome::Panicked, AttemptOutcome::Failed);
    assert_eq!(attempts, [panicked, failed, failed]);
    let errors: Vec<_> = letter
        .attempts
        .iter()
        .filter_map(|one| one.error.as_deref())
        .collect();
    assert!(
        errors[0].contains("`events`: no words") && errors[1] == "no event",
        "{errors:?}"
    );
    assert_eq!(keys(&idem).await, [""; 0]);
    idem.sync_scope(|| count("B", &body)).unwrap();
    assert_eq!(keys(&idem).await, ["4"]);
}

/// A service with a method, and a generic result.
struct Teller<T>(T);

fn told<T: Display>(value: &T) -> [OutboxMessage; 1] {
    [event(value)]
}

impl<T: Display + Clone + Serialize + DeserializeOwned> Teller<T> {
    fn also(value: &T) -> OutboxMessage {
        event(format!("also {value}"))
    }

    #[idempotent(name = "events.tell", key = "id", events = told::<T>)]
    async fn tell(&self, id: u32) -> Result<T, Error> {
        Ok(self.0.clone())
    }

    #[idempotent(name = "events.tell_all", key = "id", events = Self::also)]
    async fn tell_all(&self, id: u32) -> Result<T, Error> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn methods_and_generic_results_have_them() {
    let (idem, teller) = (temporary().unwrap(), Teller("yes".to_owned()));
    idem.scope(async {
        assert_eq!(teller.tell(1).await.unwrap(), "yes");
        assert_eq!(teller.tell_all(1).await.unwrap(), "yes");
    })
    .await;
    assert_eq!(keys(&idem).await, ["yes", "also yes"]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Receipt {
    total: u32,
}

mod yesterday {
    use super::*;

    #[idempotent(name = "events.bill", key = "id", events = told)]
    pub(super) async fn bill(id: u32) -> Result<u32, Error> {
        Ok(id * 100)
    }
}

fn of_today(_: u32, recorded: Value) -> Result<Receipt, serde_json::Error> {
    serde_json::from_value(recorded).map(|total| Receipt { total })
}

fn receipt(receipt: &Receipt) -> OutboxMessage {
    event(format!("receipt of {}", receipt.total))
}

#[idempotent(
    name = "events.bill", key = "id", version = 2, upgrade = of_today, events = receipt
)]
async fn bill(id: u32) -> Result<Receipt, Error> {
    Ok(Receipt { total: id * 100 })
}

#[tokio::test]
async fn a_result_of_an_older_version_sends_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    idem.scope(yesterday::bill(1)).await.unwrap();
    idem.close().await.unwrap();
    drop(idem);
    let idem = Idem::open(folder.path()).unwrap();
    assert_eq!(idem.scope(bill(1)).await.unwrap(), Receipt { total: 100 });
    idem.scope(bill(2)).await.unwrap();
    assert_eq!(keys(&idem).await, ["100", "receipt of 200"]);
}

#[idempotent(
    name = "orders.book", key = "id", transaction = "single", retries = 1, backoff(initial = "0ms"),
    events = told, skip(fails)
)]
async fn book(id: &str, fails: &AtomicU32) -> Result<u32, Oops> {
    let mut carried = transaction::<Carried>().await?;
    carried.transaction.put(id, "booked");
    match fails.fetch_sub(1, Ordering::Relaxed) {
        0 => Ok(7),
        _ => Err(Oops::own("no stock")),
    }
}

#[tokio::test]
async fn they_are_in_the_transaction_of_the_attempt() {
    let shop = Shop::open().await;
    let fails = AtomicU32::new(1);
    for _ in 0..2 {
        assert_eq!(shop.idem.scope(book("A", &fails)).await.unwrap(), 7);
    }
    assert_eq!(shop.row("A").as_deref(), Some("booked"));
    assert_eq!(keys(&shop.idem).await, ["7"]);
}

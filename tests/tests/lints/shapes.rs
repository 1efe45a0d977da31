//! Owned, borrowed, mutable and destructured arguments; sync and async; futures that can be spawned.
#![deny(warnings, missing_docs, unsafe_code, unused)]
#![allow(unreachable_pub, dead_code)]

use idem_runtime::{Error, idempotent};
use serde::{Deserialize, Serialize};

/// A message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    order_no: String,
    lines: Vec<u32>,
}

/// A destructured newtype, as web frameworks have them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Json<T>(T);

/// Context that is neither a message nor `Clone` nor `Sync`.
pub struct Db(std::cell::Cell<u32>);

/// Owned.
#[idempotent(key = "order_no", retries = 5)]
pub async fn owned(order: Order) -> Result<String, Error> {
    step().await?;
    Ok(order.order_no)
}

/// Borrowed, two parts, an argument that only the key uses.
#[idempotent(key = "order.order_no, tenant_id", name = "shapes.borrowed")]
pub async fn borrowed(order: &Order, tenant_id: u32, note: &str) -> Result<usize, Error> {
    step().await?;
    Ok(order.lines.len() + note.len())
}

/// Mutable bindings and references.
#[idempotent(key = "id")]
pub async fn mutable(id: u64, mut count: u32, total: &mut u32) -> Result<u32, Error> {
    count += 1;
    step().await?;
    *total += count;
    Ok(count)
}

/// Destructured; the key names a part.
#[idempotent(key = "id, order_no", fingerprint(lines))]
pub async fn destructured(
    (id, mut a): (u64, u64),
    Order { order_no, lines }: Order,
) -> Result<u64, Error> {
    a += lines.len() as u64;
    step().await?;
    Ok(a)
}

/// One binding gives the argument its name.
#[idempotent(key("order.order_no", order.lines.len()))]
pub async fn newtype(Json(order): Json<Order>, &times: &u64, _: u8) -> Result<u64, Error> {
    step().await?;
    Ok(times + order.lines.len() as u64)
}

/// What is context is skipped, and nothing of it is used.
#[idempotent(key = "order.0.order_no", skip(other))]
pub async fn skipped(order: Json<Order>, other: &mut Vec<u8>) -> Result<(), Error> {
    other.push(0);
    drop(order);
    step().await
}

/// Run at most once within a call: nothing has to be `Clone`.
#[idempotent(key = "id", retries = 0, skip(db))]
pub async fn once(id: u64, db: Db) -> Result<u32, Error> {
    step().await?;
    db.0.set(1);
    Ok(db.0.get())
}

/// The same with redelivery.
#[idempotent(key = "order.order_no", retry = "redeliver", skip(seen))]
pub async fn redelivered(mut order: Order, seen: &mut Vec<String>) -> Result<Order, Error> {
    order.lines.push(1);
    seen.push(order.order_no.clone());
    step().await?;
    Ok(order)
}

/// Raw identifiers.
#[idempotent(key = "type, match")]
pub async fn r#raw(r#type: usize, r#match: &str) -> Result<usize, Error> {
    step().await?;
    Ok(r#type + r#match.len())
}

/// Every option at once.
#[idempotent(
    key = format!("{}/{}", order.order_no, order.lines.len()),
    retries = 5,
    backoff(initial = "1s", factor = 1.5, max = "1m", jitter),
    retry = "inline",
    retry_if = is_transient,
    existing = find,
    on_crash = "bury",
    timeout = "10s",
    lease = "1m30s",
    lease_max = "2h",
    ttl = "1d",
    in_flight = "reject",
    fingerprint(order.order_no, "order.lines"),
    skip(times),
    name = "shapes.everything"
)]
pub async fn everything(order: Order, times: &mut u32) -> Result<u64, Error> {
    *times += 1;
    step().await?;
    Ok(order.lines.len() as u64)
}

/// Claims with its result.
#[idempotent(key = "order_no", transaction = "single")]
pub async fn claimed_with_its_result(order_no: String) -> Result<String, Error> {
    step().await?;
    Ok(order_no)
}

/// The default, and the mode that a broker's word decides.
#[idempotent(key = "order_no", transaction = "fresh", retry = "redeliver")]
pub async fn claimed_when_it_came_before(order_no: String) -> Result<String, Error> {
    #[idempotent(key = "order_no", transaction = "counted", on_crash = "bury")]
    async fn counted(order_no: String) -> Result<String, Error> {
        Ok(order_no)
    }
    counted(order_no).await
}

fn is_transient(error: &Error) -> bool {
    !matches!(error, Error::Closed { .. })
}

async fn find(order: &Order, times: &mut u32) -> Result<Option<u64>, Error> {
    *times += 1;
    step().await?;
    Ok(Some(order.lines.len() as u64))
}

fn find_now(order: &Order) -> Result<Option<String>, Error> {
    Ok(Some(order.order_no.clone()))
}

/// An async handler's `existing` may be sync.
#[idempotent(key = "order_no", existing = find_now, fingerprint = "off")]
pub async fn looks_now(order: &Order) -> Result<String, Error> {
    step().await?;
    Ok(order.order_no.clone())
}

/// Sync.
#[idempotent(key = "order_no", existing = find_now)]
pub fn blocking(order: Order) -> Result<String, Error> {
    Ok(order.order_no)
}

/// Sync, mutable.
#[idempotent(key = "id")]
pub fn blocking_mutable(
    id: u64,
    mut list: Vec<u64>,
    (_, total): (u8, u64),
    by: &mut u64,
) -> Result<u64, Error> {
    list.push(*by);
    *by += 1;
    Ok(list.len() as u64 + total)
}

async fn step() -> Result<(), Error> {
    Ok(())
}

/// A future that a work-stealing runtime takes.
pub fn spawnable<T: Send>(_: T) {}

/// Only compiled: the futures are made and dropped.
pub fn main() {
    let order = Order {
        order_no: "1".into(),
        lines: vec![],
    };
    let json = || Json(order.clone());
    let (mut total, mut seen, mut bytes) = (0, vec![], vec![]);
    spawnable(owned(order.clone()));
    spawnable(borrowed(&order, 1, "x"));
    spawnable(mutable(1, 2, &mut total));
    spawnable(destructured((1, 2), order.clone()));
    spawnable(newtype(json(), &3, 4));
    spawnable(skipped(json(), &mut bytes));
    spawnable(once(1, Db(std::cell::Cell::new(1))));
    spawnable(redelivered(order.clone(), &mut seen));
    spawnable(raw(1, "2"));
    spawnable(everything(order.clone(), &mut total));
    spawnable(looks_now(&order));
    let _: fn(Order) -> Result<String, Error> = blocking;
}

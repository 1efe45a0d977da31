//! What the expansion passes to the runtime: keys, payloads, names, and each attempt's own
//! arguments.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use idem_runtime::__v0_1::Handler;
use idem_runtime::testing::temporary;
use idem_runtime::{DeadLetter, Error, Filter, Idem, attempt, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The attribute's defaults.
#[path = "../../idem-macros/src/args/defaults.rs"]
mod defaults;

#[test]
fn the_attribute_and_the_runtime_have_the_same_defaults() {
    let omitted = Handler::new("name", "file", 1);
    let given = Handler::new("name", "file", 1)
        .retries(defaults::RETRIES)
        .backoff(defaults::INITIAL, defaults::FACTOR, defaults::MAX, true)
        .lease(defaults::LEASE)
        .ttl(defaults::TTL);
    assert_eq!(format!("{omitted:?}"), format!("{given:?}"));
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    order_no: String,
    lines: Vec<u32>,
}

#[derive(Clone, Serialize)]
struct Json<T>(T);

/// It cannot be stored.
#[derive(Clone)]
struct Ticket;

fn order() -> Order {
    Order {
        order_no: "A-1".into(),
        lines: vec![1, 2],
    }
}

fn fail<T>() -> Result<T, Error> {
    Err(Error::Closed {
        handler: None,
        key: None,
    })
}

async fn only_letter(idem: &Idem) -> Option<DeadLetter> {
    let letters = idem.dead_letters().list(&Filter::default()).await.ok()?;
    letters.into_iter().next()
}

#[idempotent(key = "order_no, id", retries = 0, skip(context))]
async fn patterns(
    Json(order): Json<Order>,
    (id, _b): (u32, u32),
    Order { order_no, .. }: Order,
    _: Ticket,
    context: &str,
    mut total: u32,
) -> Result<u32, Error> {
    total += order.lines.len() as u32 + id + order_no.len() as u32 + context.len() as u32;
    let _ = total;
    fail()
}

#[tokio::test]
async fn a_payload_has_the_names_of_the_arguments() {
    let idem = temporary().unwrap();
    let called = idem
        .scope(patterns(
            Json(order()),
            (7, 8),
            order(),
            Ticket,
            "context",
            1,
        ))
        .await;
    assert!(matches!(called, Err(Error::Closed { .. })));
    let letter = only_letter(&idem).await.unwrap();
    let order = json!({"order_no": "A-1", "lines": [1, 2]});
    assert_eq!(
        letter.payload.to_value().unwrap(),
        json!({"order": order, "arg1": [7, 8], "order_no": order, "total": 1})
    );
    assert!(
        letter.key.contains("A-1") && letter.key.contains('7'),
        "{}",
        letter.key
    );
    assert_eq!(letter.handler, "arguments::patterns");
}

static SEEN: AtomicU32 = AtomicU32::new(0);

#[idempotent(key = "order_no", retries = 2, backoff(initial = "1ms"), skip(log))]
async fn changes_its_arguments(mut order: Order, log: &mut Vec<usize>) -> Result<usize, Error> {
    order.lines.push(3);
    log.push(order.lines.len());
    if SEEN.fetch_add(1, SeqCst) < 2 {
        fail()
    } else {
        Ok(order.lines.len())
    }
}

#[tokio::test]
async fn every_attempt_has_its_own_arguments() {
    let idem = temporary().unwrap();
    let mut log = vec![];
    assert_eq!(
        idem.scope(changes_its_arguments(order(), &mut log))
            .await
            .unwrap(),
        3
    );
    assert_eq!(log, [3, 3, 3]);
    assert_eq!(
        idem.scope(changes_its_arguments(order(), &mut log))
            .await
            .unwrap(),
        3
    );
    assert_eq!(log, [3, 3, 3], "a replay changes nothing");
}

#[idempotent(key = "a, b", existing = find, fingerprint(a))]
async fn looks_first(a: u32, b: &str) -> Result<String, Error> {
    Ok(format!("new {a}{b}"))
}

async fn find(a: &u32, b: &str) -> Result<Option<String>, Error> {
    assert!(attempt().is_some(), "the look is part of the attempt");
    Ok((*a == 1).then(|| format!("old {a}{b}")))
}

#[tokio::test]
async fn what_exists_is_returned() {
    let idem = temporary().unwrap();
    assert_eq!(idem.scope(looks_first(1, "x")).await.unwrap(), "old 1x");
    assert_eq!(idem.scope(looks_first(2, "x")).await.unwrap(), "new 2x");
}

struct Shop<'a> {
    idem: &'a Idem,
    tenant: &'static str,
}

#[async_trait::async_trait]
trait Place {
    async fn place(&self, order: Order, (a, b): (u32, u32)) -> Result<String, Error>;
}

#[async_trait::async_trait]
impl Place for Shop<'_> {
    #[idempotent(key = "self.tenant, order.order_no", runtime = self.idem, retries = 1, backoff(initial = "1ms"))]
    async fn place(&self, mut order: Order, (a, b): (u32, u32)) -> Result<String, Error> {
        order.order_no.push('!');
        if attempt().is_some_and(|attempt| attempt.number == 1) {
            return fail();
        }
        Ok(format!("{}{a}{b}", order.order_no))
    }
}

#[tokio::test]
async fn a_method_of_async_trait_is_one_call() {
    let idem = temporary().unwrap();
    let shop = Shop {
        idem: &idem,
        tenant: "t",
    };
    let (first, again) = tokio::join!(shop.place(order(), (1, 2)), shop.place(order(), (1, 2)));
    assert_eq!(
        (first.unwrap(), again.unwrap()),
        ("A-1!12".into(), "A-1!12".into())
    );
}

struct Refunds;

impl Refunds {
    #[idempotent(key = "id", retries = 0)]
    fn refund(&self, id: u64) -> Result<u64, Error> {
        assert!(id > 0);
        fail()
    }

    #[idempotent(key = "id", retries = 0, name = "refunds.change")]
    fn change(&mut self, id: &mut u64) -> Result<u64, Error> {
        *id += 1;
        fail()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_named_after_its_type() {
    let idem = temporary().unwrap();
    idem.scope(async { Refunds.refund(1) }).await.unwrap_err();
    assert_eq!(
        only_letter(&idem).await.unwrap().handler,
        "arguments::Refunds::refund"
    );

    let idem = temporary().unwrap();
    let mut id = 5;
    idem.scope(async { Refunds.change(&mut id) })
        .await
        .unwrap_err();
    let letter = only_letter(&idem).await.unwrap();
    assert_eq!(
        (letter.handler.as_str(), letter.payload.to_value().unwrap()),
        ("refunds.change", json!({"id": 5}))
    );
    assert_eq!(id, 6);
}

//! A key belongs to one message; the same key with another content is a mistake that someone has to
//! hear of.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use idem_runtime::dead_letters::AttemptOutcome;
use idem_runtime::ledger::Ledger;
use idem_runtime::protocol::{Budget, Claim, Failed, RecordId, Reply, Step, StoredResult};
use idem_runtime::testing::internals::fingerprint;
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on, temporary};
use idem_runtime::{Error, Idem, idempotent};
use serde::{Deserialize, Serialize};

use crate::common::{Body, on};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    sku: String,
    qty: u32,
}

fn order(order_no: &str, sku: &str, qty: u32) -> Order {
    Order {
        order_no: order_no.to_owned(),
        sku: sku.to_owned(),
        qty,
    }
}

#[track_caller]
fn assert_reused(result: Result<u32, Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::KeyReused { .. }), "{error:?}");
}

#[idempotent(name = "prints.all", key = "order_no", skip(body))]
async fn all(order: Order, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn the_same_key_with_another_content_is_refused_and_told_apart() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(all(order("A", "TEA", 1), &body).await.unwrap(), 1);
        let error = all(order("A", "TEA", 2), &body).await.unwrap_err();
        assert!(
            matches!(&error, Error::KeyReused { handler, key } if handler == "prints.all" && key == "A"),
            "{error:?}"
        );
        assert_reused(all(order("A", "JAM", 1), &body).await);
        assert_eq!(all(order("A", "TEA", 1), &body).await.unwrap(), 1, "the first one is not touched by it");
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[idempotent(name = "prints.off", key = "order_no", fingerprint = "off", skip(body))]
async fn off(order: Order, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn without_a_fingerprint_only_the_key_counts() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(off(order("A", "TEA", 1), &body).await.unwrap(), 1);
        assert_eq!(off(order("A", "JAM", 9), &body).await.unwrap(), 1);
    })
    .await;
}

#[idempotent(name = "prints.some", key = "order.order_no", fingerprint(order.sku, note), skip(body))]
async fn some(order: Order, note: &str, at: u64, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn of_a_list_only_what_it_names_counts() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(some(order("A", "TEA", 1), "n", 1, &body).await.unwrap(), 1);
        assert_eq!(some(order("A", "TEA", 2), "n", 2, &body).await.unwrap(), 1);
        assert_reused(some(order("A", "JAM", 1), "n", 1, &body).await);
        assert_reused(some(order("A", "TEA", 1), "m", 1, &body).await);
    })
    .await;
}

#[idempotent(name = "prints.map", key = "id", skip(body))]
async fn map(id: u32, stock: HashMap<String, u32>, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn the_order_of_a_map_does_not_count() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let entries = || (0..100).map(|n| (format!("sku {n}"), n));
    idem.scope(async {
        for _ in 0..10 {
            // Every map has a hash seed of its own.
            assert_eq!(map(1, entries().collect(), &body).await.unwrap(), 1);
            assert_eq!(map(1, entries().rev().collect(), &body).await.unwrap(), 1);
        }
        assert_reused(map(1, entries().skip(1).collect(), &body).await);
    })
    .await;
}

#[idempotent(name = "prints.value", key = "id", skip(body))]
async fn value(id: u32, value: serde_json::Value, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn contents_that_only_look_alike_are_different() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let contents = [
        "1",
        "\"1\"",
        "[1]",
        "[[1]]",
        "{\"1\":1}",
        "null",
        "false",
        "0",
        "\"\"",
        "[]",
        "{}",
        "[1,2]",
        "12",
    ];
    idem.scope(async {
        for (id, one) in (0..).zip(contents) {
            let content = |json: &str| serde_json::from_str(json).unwrap();
            value(id, content(one), &body).await.unwrap();
            for other in contents.into_iter().filter(|other| *other != one) {
                assert_reused(value(id, content(other), &body).await);
            }
        }
    })
    .await;
}

#[idempotent(name = "prints.number", key = "id", skip(body))]
async fn number(id: u32, reference: u128, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn numbers_of_64_bits_count_to_the_last_digit() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        number(1, u128::from(u64::MAX), &body).await.unwrap();
        assert_reused(number(1, u128::from(u64::MAX) - 1, &body).await);
    })
    .await;
}

#[idempotent(name = "prints.parts", key = "a, b", fingerprint = "off", skip(body))]
async fn parts(a: &str, b: &str, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn keys_of_several_parts_do_not_collide() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let texts = [
        "a", "b", ",", "\\", "a,b", "a\\", "\\,", ",\\", "a\\,b", "\\\\", "a,", ",b", "\0", " ",
        "%2C", "\"",
    ];
    let mut first = BTreeMap::new();
    idem.scope(async {
        for a in texts {
            for b in texts {
                let got = parts(a, b, &body).await.unwrap();
                assert_eq!(first.insert(got, (a, b)), None, "{a:?} {b:?}");
            }
        }
        assert_eq!(first[&parts("a", "b", &body).await.unwrap()], ("a", "b"));
    })
    .await;
    assert_eq!(body.starts() as usize, texts.len() * texts.len());
}

#[idempotent(name = "prints.skip", key = "id", skip(trace, body))]
async fn skipping(id: u32, trace: &str, body: &Body) -> Result<u32, Error> {
    let _ = trace;
    Ok(body.start())
}

#[tokio::test]
async fn what_is_skipped_does_not_count() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(skipping(1, "one", &body).await.unwrap(), 1);
        assert_eq!(skipping(1, "other", &body).await.unwrap(), 1);
    })
    .await;
}

#[idempotent(name = "prints.hour", key = "id", ttl = "1h", skip(body))]
async fn hour(id: u32, content: u32, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn a_key_whose_time_is_over_may_have_another_content() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        hour(1, 1, &body).await.unwrap();
        assert_reused(hour(1, 2, &body).await);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(hour(1, 2, &body).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn numbers_of_128_bits_count_to_the_last_digit() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        number(1, u128::MAX, &body).await.unwrap();
        assert_reused(number(1, u128::MAX - 1, &body).await);
    })
    .await;
}

#[idempotent(name = "prints.option", key = "id", skip(body))]
async fn option(id: u32, note: Option<&str>, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

/// A claim of a message as releases made it that counted its nulls.
fn counting_nulls(payload: &str) -> Claim {
    let budget = Budget::new(3, Duration::from_secs(3600));
    let claim = Claim::new(
        "an old one",
        payload.as_bytes(),
        budget,
        Duration::from_secs(30),
    );
    claim.fingerprint(fingerprint(&[payload.as_bytes()]).unwrap())
}

#[tokio::test]
async fn a_record_of_before_that_counts_a_null_is_found_and_another_content_is_not() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let claim = async |id: u32, payload: &str| {
        let id = RecordId::new("prints.option", id.to_string());
        let step = Step::Claim(counting_nulls(payload));
        match ledger.apply(&id, step).await.unwrap() {
            Reply::Run(grant) => (id, grant.token),
            reply => panic!("{reply:?}"),
        }
    };
    let (done, token) = claim(1, r#"{"id":1,"note":null}"#).await;
    let (result, notes) = (StoredResult::json(*b"17"), Vec::new());
    let step = Step::Complete {
        token,
        result,
        notes,
    };
    ledger.apply(&done, step).await.unwrap();
    let (failed, token) = claim(2, r#"{"id":2,"note":null}"#).await;
    let failure = Failed::new(token, AttemptOutcome::Failed, Duration::ZERO);
    ledger.apply(&failed, Step::Fail(failure)).await.unwrap();
    let idem = open_on(Idem::builder().clock(Arc::new(clock)), ledger.clone()).unwrap();
    idem.scope(async {
        for _ in 0..2 {
            assert_eq!(option(1, None, &body).await.unwrap(), 17);
            assert_reused(option(1, Some("ring"), &body).await);
        }
        assert_reused(option(2, Some("ring"), &body).await);
        assert_eq!(option(2, None, &body).await.unwrap(), 1);
        assert_eq!(option(2, None, &body).await.unwrap(), 1);
    })
    .await;
}

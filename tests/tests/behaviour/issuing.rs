//! Keys that the server issues, and handlers that take no other.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on, temporary};
use idem_runtime::{Error, Idem, idempotent, issuer::KeyFormat};

use crate::common::{Body, Oops, on, only_letter};

#[idempotent(
    name = "issuing.place",
    key = "order_no",
    issued = "order_no",
    retries = 1,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn place(order_no: &str, fails: u32, body: &Body) -> Result<u32, Oops> {
    let number = body.start();
    if number <= fails {
        Err(Oops::own("no stock"))
    } else {
        Ok(number)
    }
}

#[idempotent(
    name = "issuing.pay",
    key = "order_no",
    issued = "order_no",
    skip(body)
)]
fn pay(order_no: &str, body: &Body) -> Result<u32, Oops> {
    let _ = order_no;
    Ok(body.start())
}

#[tokio::test]
async fn what_was_issued_runs_and_nothing_else_does() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let order_no = idem.issuer("order_no").issue().await.unwrap();
    idem.scope(async {
        for made_up in ["A-1001", "x"] {
            let refused = place(made_up, 0, &body).await.unwrap_err().into_idem();
            assert!(
                matches!(
                    refused,
                    Error::NotIssued {
                        issuer: "order_no",
                        ..
                    }
                ),
                "{refused:?}"
            );
            let text = refused.to_string();
            assert!(
                text.contains(made_up) && text.contains("idem.issuer(\"order_no\").issue()"),
                "{text}"
            );
            assert!(matches!(
                pay(made_up, &body).unwrap_err().into_idem(),
                Error::NotIssued { .. }
            ));
        }
        assert_eq!(body.starts(), 0);
        assert_eq!(place(&order_no, 0, &body).await.unwrap(), 1);
        assert_eq!(place(&order_no, 0, &body).await.unwrap(), 1, "a replay");
        assert_eq!(
            pay(&order_no, &body).unwrap(),
            2,
            "each handler takes it once"
        );
    })
    .await;
}

#[tokio::test]
async fn keys_of_another_issuer_are_not_taken() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let other = idem.issuer("invoice_no").issue().await.unwrap();
    let refused = idem
        .scope(place(&other, 0, &body))
        .await
        .unwrap_err()
        .into_idem();
    assert!(matches!(refused, Error::NotIssued { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_key_lapses_unless_it_was_used() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    let issuer = idem.issuer("order_no").ttl(Duration::from_secs(60));
    let (used, unused) = (issuer.issue().await.unwrap(), issuer.issue().await.unwrap());
    idem.scope(async {
        place(&used, 0, &body).await.unwrap();
        clock.advance(Duration::from_secs(61));
        assert_eq!(
            place(&used, 0, &body).await.unwrap(),
            1,
            "what came in time is remembered as its handler says"
        );
        let refused = place(&unused, 0, &body).await.unwrap_err().into_idem();
        assert!(matches!(refused, Error::NotIssued { .. }), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_message_that_was_taken_goes_on_when_its_key_has_lapsed() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    let order_no = idem
        .issuer("order_no")
        .ttl(Duration::from_secs(60))
        .issue()
        .await
        .unwrap();
    idem.scope(async {
        place(&order_no, 9, &body).await.unwrap_err().into_own();
        let letter = only_letter(&idem).await;
        clock.advance(Duration::from_secs(61));
        idem.dead_letters().redrive(&letter.id).await.unwrap();
        assert_eq!(place(&order_no, 0, &body).await.unwrap(), 3);
    })
    .await;
}

fn rule() -> KeyFormat {
    KeyFormat::new()
        .text("A-")
        .date()
        .text("-")
        .sequence(6)
        .check_digit()
}

#[tokio::test]
async fn a_sequence_goes_on_after_a_restart_and_begins_anew_each_day() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let open = || {
        Idem::builder()
            .clock(Arc::new(clock.clone()))
            .open(folder.path())
            .unwrap()
    };
    let idem = open();
    let first = idem
        .issuer("order_no")
        .format(rule())
        .issue()
        .await
        .unwrap();
    let second = idem
        .issuer("order_no")
        .format(rule())
        .issue()
        .await
        .unwrap();
    let number = |key: &str| key.split('-').nth(2).unwrap()[..6].parse::<u32>().unwrap();
    assert_eq!(
        (number(&first), number(&second)),
        (1, 2),
        "{first} {second}"
    );
    idem.close().await.unwrap();
    drop(idem);
    let idem = open();
    let third = idem
        .issuer("order_no")
        .format(rule())
        .issue()
        .await
        .unwrap();
    assert!(number(&third) > 2, "{third}");
    clock.advance(Duration::from_secs(24 * 3600));
    let tomorrow = idem
        .issuer("order_no")
        .format(rule())
        .issue()
        .await
        .unwrap();
    assert_eq!(number(&tomorrow), 1, "{tomorrow}");
    assert_ne!(tomorrow[..10], first[..10]);
}

#[tokio::test]
async fn replicas_never_issue_the_same_key() {
    let clock = ManualClock::default();
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let open = || {
        open_on(
            Idem::builder().clock(Arc::new(clock.clone())),
            ledger.clone(),
        )
        .unwrap()
    };
    let replicas: Vec<_> = (0..3).map(|_| open()).collect();
    let issuers: Vec<_> = replicas
        .iter()
        .map(|idem| idem.issuer("order_no").format(rule()))
        .collect();
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let calls = issuers
            .iter()
            .flat_map(|issuer| (0..70).map(move |_| issuer.issue()));
        for key in try_join_all(calls).await.unwrap() {
            assert!(seen.insert(key.clone()), "{key} twice");
        }
    }
    assert_eq!(seen.len(), 5 * 3 * 70);
}

#[tokio::test]
async fn a_rule_that_runs_out_says_so() {
    let idem = temporary().unwrap();
    let issuer = idem
        .issuer("few")
        .format(KeyFormat::new().text("x").random(1));
    let issued: Vec<_> = join_all((0..32).map(|_| issuer.issue())).await;
    let keys: HashSet<_> = issued.into_iter().map(Result::unwrap).collect();
    assert_eq!(keys.len(), 32);
    let error = issuer.issue().await.unwrap_err().to_string();
    assert!(
        error.contains("issuer `few`") && error.contains("longer random part"),
        "{error}"
    );
    let error = idem
        .issuer("none")
        .format(KeyFormat::new())
        .issue()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is empty"), "{error}");
}

#[tokio::test]
async fn a_comma_in_a_key_is_a_comma() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let key = idem
        .issuer("order_no")
        .format(KeyFormat::new().text("a,b\\").random(4))
        .issue()
        .await
        .unwrap();
    assert_eq!(idem.scope(place(&key, 0, &body)).await.unwrap(), 1);
}

#[tokio::test]
async fn it_is_told_who_issued_a_key() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let issuer = idem
        .issuer("order_no")
        .format(rule())
        .ttl(Duration::from_secs(60));
    let key = issuer.issue().await.unwrap();
    let issued = idem.issued(&key).await.unwrap();
    assert_eq!(issued.len(), 1);
    assert_eq!(issued[0].issuer, "order_no");
    assert_eq!(issued[0].until.duration_since(issued[0].at).as_secs(), 60);
    assert!(idem.issued("A-1001").await.unwrap().is_empty());
}

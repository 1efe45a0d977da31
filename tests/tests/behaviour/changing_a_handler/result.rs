//! The result: its type, its version, and programs of two versions.

use std::sync::Arc;

use idem_runtime::error::CodecStage;
use idem_runtime::protocol::{Record, RecordId, Settlement};
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on};
use idem_runtime::{Error, Idem, Origin, Verdict, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Shop, letters};
use crate::common::{Body, Oops};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Receipt {
    order_no: String,
    #[serde(default)]
    currency: Option<String>,
    cents: u64,
}

#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("version {0} never was")]
    Unknown(u32),
}

/// What version 1 recorded is a price in whole euros.
fn today(from: u32, recorded: Value) -> Result<Receipt, UpgradeError> {
    if from != 1 {
        return Err(UpgradeError::Unknown(from));
    }
    let (order_no, euros): (String, u64) = serde_json::from_value(recorded)?;
    Ok(Receipt {
        order_no,
        currency: Some("EUR".into()),
        cents: euros * 100,
    })
}

#[idempotent(name = "orders.price", key = "order_no", skip(body))]
async fn price(order_no: String, body: Arc<Body>) -> Result<(String, u64), Oops> {
    body.start();
    Ok((order_no, 7))
}

/// What an error of a recorded result that does not decode says after its handler and key.
#[track_caller]
fn undecodable<T: std::fmt::Debug>(result: Result<T, Oops>) -> String {
    let error = result.unwrap_err().into_idem();
    assert_eq!(error.verdict(), Verdict::Settled);
    let text = error.to_string();
    assert!(
        matches!(
            error,
            Error::Codec {
                stage: CodecStage::RecordedResult,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        text.ends_with("with `version = …, upgrade = path`"),
        "{text}"
    );
    text
}

#[tokio::test]
async fn the_result_is_of_another_type_that_reads_the_old_one() {
    #[derive(Serialize, Deserialize)]
    struct Before {
        order_no: String,
        cents: u64,
    }
    #[idempotent(name = "orders.pay", key = "order_no")]
    async fn old(order_no: String) -> Result<Before, Oops> {
        Ok(Before {
            order_no,
            cents: 700,
        })
    }
    #[idempotent(name = "orders.pay", key = "order_no")]
    async fn new(order_no: String) -> Result<Receipt, Oops> {
        unreachable!("{order_no} is done")
    }
    let shop = Shop::new();
    shop.runs(async |_| drop(old("A-1".into()).await.unwrap()))
        .await;
    let receipt = shop.runs(async |_| new("A-1".into()).await.unwrap()).await;
    assert_eq!((receipt.cents, receipt.currency), (700, None));
}

#[tokio::test]
async fn the_result_is_of_another_type_that_does_not_read_the_old_one() {
    #[idempotent(name = "orders.price", key = "order_no", skip(body))]
    async fn new(order_no: String, body: Arc<Body>) -> Result<Receipt, Oops> {
        body.start();
        Ok(Receipt {
            order_no,
            currency: None,
            cents: 700,
        })
    }
    let shop = Shop::new();
    shop.runs(async |_| price("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |idem| {
        let text = undecodable(new("A-1".into(), shop.body()).await);
        assert!(
            text.contains("the recorded result no longer decodes"),
            "{text}"
        );
        assert!(!text.contains("\"A-1\""), "no value of the result: {text}");
        let origin = Origin::new("rabbitmq", "orders");
        let delivered = idem.deliver(origin, new("A-1".into(), shop.body())).await;
        assert_eq!(delivered.verdict, Verdict::Settled);
        assert_eq!(letters(idem).await, []);
        assert_eq!(shop.body.starts(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_result_is_of_another_type_with_a_version() {
    #[idempotent(name = "orders.price", key = "order_no", version = 2, upgrade = today, skip(body))]
    async fn new(order_no: String, body: Arc<Body>) -> Result<Receipt, Oops> {
        body.start();
        Ok(Receipt {
            order_no,
            currency: Some("GBP".into()),
            cents: 800,
        })
    }
    let shop = Shop::new();
    shop.runs(async |_| price("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |idem| {
        for _ in 0..2 {
            let upgraded = new("A-1".into(), shop.body()).await.unwrap();
            assert_eq!(
                (upgraded.cents, upgraded.currency.as_deref()),
                (700, Some("EUR"))
            );
        }
        // What is recorded from now on is not upgraded.
        for _ in 0..2 {
            let first = new("A-2".into(), shop.body()).await.unwrap();
            assert_eq!((first.cents, first.currency.as_deref()), (800, Some("GBP")));
        }
        let record = idem
            .record(&RecordId::new("orders.price", "A-2"))
            .await
            .unwrap();
        let Some(Record::Settled(settled)) = record else {
            panic!("{record:?}")
        };
        let Settlement::Done(result) = settled.end else {
            panic!("{settled:?}")
        };
        assert!(
            matches!(
                result,
                idem_runtime::protocol::StoredResult::Json { version: 2, .. }
            ),
            "{result:?}"
        );
    })
    .await;
    assert_eq!(shop.body.starts(), 2);
}

#[tokio::test]
async fn the_upgrade_fails() {
    fn fails(from: u32, recorded: Value) -> Result<Receipt, serde_json::Error> {
        assert_eq!(from, 1);
        serde_json::from_value(recorded)
    }
    fn boxed(_: u32, recorded: Value) -> Result<Receipt, Box<dyn std::error::Error + Send + Sync>> {
        Ok(serde_json::from_value(recorded)?)
    }
    fn panics(_: u32, _: Value) -> Result<Receipt, String> {
        panic!("no such price")
    }
    fn own(_: u32, _: Value) -> Result<Receipt, UpgradeError> {
        Err(UpgradeError::Unknown(1))
    }
    macro_rules! handler {
        ($name:ident, $upgrade:ident) => {
            #[idempotent(name = "orders.price", key = "order_no", version = 2, upgrade = $upgrade)]
            async fn $name(order_no: String) -> Result<Receipt, Oops> {
                unreachable!("{order_no} is done")
            }
        };
    }
    handler!(with_fails, fails);
    handler!(with_boxed, boxed);
    handler!(with_panics, panics);
    handler!(with_own, own);
    let shop = Shop::new();
    shop.runs(async |_| price("secret".into(), shop.body()).await.unwrap())
        .await;
    let texts = [
        shop.runs(async |_| undecodable(with_fails("secret".into()).await))
            .await,
        shop.runs(async |_| undecodable(with_boxed("secret".into()).await))
            .await,
        shop.runs(async |_| undecodable(with_panics("secret".into()).await))
            .await,
        shop.runs(async |_| undecodable(with_own("secret".into()).await))
            .await,
    ];
    for (text, says) in texts.iter().zip([
        "`upgrade` failed: invalid type, expected a string",
        "`upgrade` failed: invalid type, expected a string",
        "`upgrade` panicked: no such price",
        "`upgrade` failed: version 1 never was",
    ]) {
        assert!(
            text.contains("recorded by version 1, and this program has version 2"),
            "{text}"
        );
        assert!(text.contains(says), "{text}");
        assert_eq!(text.matches("secret").count(), 1, "only the key: {text}");
    }
}

#[tokio::test]
async fn the_program_is_rolled_back() {
    #[idempotent(name = "orders.price", key = "order_no", version = 2, upgrade = today)]
    async fn new(order_no: String) -> Result<Receipt, Oops> {
        Ok(Receipt {
            order_no,
            currency: None,
            cents: 700,
        })
    }
    #[idempotent(name = "orders.total", key = "order_no", version = 2)]
    async fn new_total(order_no: String) -> Result<u64, Oops> {
        Ok(order_no.len() as u64)
    }
    #[idempotent(name = "orders.total", key = "order_no")]
    async fn old_total(order_no: String) -> Result<u32, Oops> {
        unreachable!("{order_no} is done")
    }
    let shop = Shop::new();
    shop.runs(async |_| {
        new("A-1".into()).await.unwrap();
        new_total("A-1".into()).await.unwrap();
    })
    .await;
    shop.runs(async |_| {
        let text = undecodable(price("A-1".into(), shop.body()).await);
        let says = "recorded by version 2, and this program has an older one, 1";
        assert!(text.contains(says), "{text}");
        assert_eq!(shop.body.starts(), 0);
        // It is tried as it is.
        assert_eq!(old_total("A-1".into()).await.unwrap(), 3);
    })
    .await;
}

#[tokio::test]
async fn two_versions_run_on_one_ledger() {
    #[idempotent(name = "orders.price", key = "order_no", version = 2, upgrade = today, skip(body))]
    async fn new(order_no: String, body: Arc<Body>) -> Result<Receipt, Oops> {
        body.start();
        Ok(Receipt {
            order_no,
            currency: None,
            cents: 800,
        })
    }
    let (clock, body) = (ManualClock::default(), Body::open());
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let process = || {
        open_on(
            Idem::builder().clock(Arc::new(clock.clone())),
            ledger.clone(),
        )
        .unwrap()
    };
    let (before, after) = (process(), process());
    let its = || Arc::clone(&body);
    before.scope(price("A-1".into(), its())).await.unwrap();
    after.scope(new("A-2".into(), its())).await.unwrap();
    assert_eq!(
        after.scope(new("A-1".into(), its())).await.unwrap().cents,
        700
    );
    undecodable(before.scope(price("A-2".into(), its())).await);
    assert_eq!(body.starts(), 2, "each message ran once, in one of them");
}

//! The table of `docs/changing-a-handler.md`, a test for each line: a handler as the program had it
//! before a deploy, the same handler as it has it after, and one ledger.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::dead_letters::{LetterError, RunOutcome};
use idem_runtime::error::CodecStage;
use idem_runtime::protocol::{Record, RecordId, Settlement};
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on};
use idem_runtime::{DeadLetterId, Error, Filter, Idem, Origin, Verdict, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::common::{Body, Folder, Oops, only_letter};

/// The handler in one of the programs. Its body returns how often it was started, in both programs
/// together, and fails for an order whose number begins with `fails`.
macro_rules! program {
    ($program:ident: [$($option:tt)*] ($first:ident: $type:ty $(, $arg:ident: $types:ty)*)) => {
        #[idempotent($($option)*, retry = "redeliver", skip(body))]
        async fn $program($first: $type, $($arg: $types,)* body: Arc<Body>) -> Result<u32, Oops> {
            made(&format!("{:?}", $first), &body)
        }
    };
}

fn made(order: &str, body: &Body) -> Result<u32, Oops> {
    let start = body.start();
    if order.contains("fails") {
        Err(Oops::own(format!("failure {start}")))
    } else {
        Ok(start)
    }
}

/// One ledger and what both programs do.
struct Shop {
    folder: Folder,
    body: Arc<Body>,
}

impl Shop {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            body: Body::open(),
        }
    }

    fn body(&self) -> Arc<Body> {
        Arc::clone(&self.body)
    }

    /// Runs a program from its start to its end.
    async fn runs<T>(&self, program: impl AsyncFnOnce(&Idem) -> T) -> T {
        let idem = self.folder.open();
        let done = idem.scope(program(&idem)).await;
        idem.close().await.unwrap();
        done
    }
}

/// Runs the only open letter in the program whose handlers were registered.
async fn runs_letter(idem: &Idem) -> Result<RunOutcome, LetterError> {
    let letter = only_letter(idem).await;
    idem.dead_letters().run(&letter.id).await
}

async fn letters(idem: &Idem) -> Vec<DeadLetterId> {
    let open = idem.dead_letters().list(&Filter::default()).await.unwrap();
    open.into_iter().map(|letter| letter.id).collect()
}

#[track_caller]
fn assert_reused(result: Result<u32, Oops>) {
    let error = result.unwrap_err().into_idem();
    assert!(matches!(error, Error::KeyReused { .. }), "{error:?}");
}

#[track_caller]
fn assert_own(result: Result<u32, Oops>, text: &str) {
    assert_eq!(result.unwrap_err().into_own(), text);
}

// The message.

#[tokio::test]
async fn a_field_or_an_argument_that_may_be_absent_is_added() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
        note: Option<String>,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
        coupon: Option<String>,
        note: Option<String>,
    }
    program!(old: [name = "orders.place", key = "order.order_no", retries = 1, backoff(initial = "0ms")] (order: Before));
    program!(new: [name = "orders.place", key = "order.order_no", retries = 1, backoff(initial = "0ms")] (order: After, gift: Option<bool>));
    #[derive(Deserialize)]
    struct Arguments {
        order: After,
        gift: Option<bool>,
    }
    let before = |order_no: &str| Before {
        order_no: order_no.into(),
        note: None,
    };
    let after = |order_no: &str, coupon: Option<&str>| After {
        order_no: order_no.into(),
        coupon: coupon.map(Into::into),
        note: None,
    };
    let shop = Shop::new();
    shop.runs(async |_| {
        assert_eq!(old(before("A-1"), shop.body()).await.unwrap(), 1);
        assert_own(old(before("fails"), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(new(after("A-1", None), None, shop.body()).await.unwrap(), 1);
        assert_reused(new(after("A-1", Some("tea")), None, shop.body()).await);
        // The second and last attempt of the message that was in flight.
        assert_own(
            new(after("fails", None), None, shop.body()).await,
            "failure 3",
        );
        assert_eq!(only_letter(idem).await.attempts.len(), 2);
    })
    .await;
    // A letter of before, of which a person has mended the order.
    let id = shop
        .runs(async |idem| {
            for text in ["failure 4", "failure 5"] {
                assert_own(old(before("fails too"), shop.body()).await, text);
            }
            letters(idem).await.remove(0)
        })
        .await;
    shop.runs(async |idem| {
        let body = shop.body();
        idem.register_handler("orders.place", move |Arguments { order, gift }| {
            new(order, gift, Arc::clone(&body))
        });
        let run = idem.dead_letters().run(&id).await.unwrap();
        assert!(
            matches!(&run, RunOutcome::Failed { error, .. } if error == "failure 7"),
            "it fits, so the handler has run: {run:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_field_with_another_default_is_added() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, qty: u32));
    let shop = Shop::new();
    shop.runs(async |_| old("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| assert_reused(new("A-1".into(), 1, shop.body()).await))
        .await;

    // The part of the message that has to match is listed before the deploy.
    program!(listed: [name = "orders.list", key = "order_no", retries = 0, fingerprint(order_no)] (order_no: String));
    program!(longer: [name = "orders.list", key = "order_no", retries = 0, fingerprint(order_no)] (order_no: String, qty: u32));
    shop.runs(async |_| listed("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| assert_eq!(longer("A-1".into(), 1, shop.body()).await.unwrap(), 2))
        .await;
}

#[tokio::test]
async fn an_argument_is_removed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, note: Option<String>));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order_no: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        old("A-1".into(), None, shop.body()).await.unwrap();
        old("A-2".into(), Some("ring".into()), shop.body())
            .await
            .unwrap();
        assert_own(old("fails".into(), None, shop.body()).await, "failure 3");
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 1);
        assert_reused(new("A-2".into(), shop.body()).await);
        // A letter has the arguments that its message had, until a person edits it.
        let body = shop.body();
        idem.register_handler("orders.place", move |order_no| {
            new(order_no, Arc::clone(&body))
        });
        let unfit = runs_letter(idem).await.unwrap_err();
        assert!(
            matches!(unfit, LetterError::PayloadUnfit { .. }),
            "{unfit:?}"
        );
        let id = only_letter(idem).await.id;
        let edited = json!({ "order_no": "fails" });
        idem.dead_letters()
            .edit(&id, edited, "the note is gone")
            .await
            .unwrap();
        let run = runs_letter(idem).await.unwrap();
        assert!(
            matches!(&run, RunOutcome::Failed { error, .. } if error == "failure 4"),
            "{run:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_field_is_removed() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
        note: String,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order: After));
    let shop = Shop::new();
    let before = |order_no: &str| Before {
        order_no: order_no.into(),
        note: "ring".into(),
    };
    shop.runs(async |_| {
        old(before("A-1"), shop.body()).await.unwrap();
        assert_own(old(before("fails"), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_reused(
            new(
                After {
                    order_no: "A-1".into(),
                },
                shop.body(),
            )
            .await,
        );
        let body = shop.body();
        idem.register_handler("orders.place", move |order| new(order, Arc::clone(&body)));
        let run = runs_letter(idem).await.unwrap();
        assert!(
            matches!(&run, RunOutcome::Failed { error, .. } if error == "failure 3"),
            "{run:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_field_is_made_required() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
        qty: Option<u32>,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
        qty: u32,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order: After));
    let shop = Shop::new();
    let before = |order_no: &str, qty| Before {
        order_no: order_no.into(),
        qty,
    };
    shop.runs(async |_| {
        old(before("A-1", Some(2)), shop.body()).await.unwrap();
        assert_own(old(before("fails", None), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        let after = After {
            order_no: "A-1".into(),
            qty: 2,
        };
        assert_eq!(new(after, shop.body()).await.unwrap(), 1);
        let body = shop.body();
        idem.register_handler("orders.place", move |order| new(order, Arc::clone(&body)));
        let unfit = runs_letter(idem).await.unwrap_err();
        assert!(
            matches!(&unfit, LetterError::PayloadUnfit { problem, .. } if problem.contains("qty")),
            "{unfit:?}"
        );
        assert_eq!(shop.body.starts(), 2);
        let id = only_letter(idem).await.id;
        let edited = json!({ "order": { "order_no": "fails", "qty": 1 } });
        idem.dead_letters()
            .edit(&id, edited, "they ordered one")
            .await
            .unwrap();
        let run = runs_letter(idem).await.unwrap();
        assert!(
            matches!(&run, RunOutcome::Failed { error, .. } if error == "failure 3"),
            "{run:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_field_is_renamed() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
        note: String,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Aliased {
        order_no: String,
        #[serde(alias = "note")]
        remark: String,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Renamed {
        order_no: String,
        #[serde(rename = "note")]
        remark: String,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(aliased: [name = "orders.place", key = "order_no", retries = 0] (order: Aliased));
    program!(renamed: [name = "orders.place", key = "order_no", retries = 0] (order: Renamed));
    let shop = Shop::new();
    let (order_no, note) = ("A-1".to_owned(), "ring".to_owned());
    shop.runs(async |_| {
        let order = Before {
            order_no: order_no.clone(),
            note: note.clone(),
        };
        old(order, shop.body()).await.unwrap();
    })
    .await;
    shop.runs(async |_| {
        let order = Aliased {
            order_no: order_no.clone(),
            remark: note.clone(),
        };
        assert_reused(aliased(order, shop.body()).await);
    })
    .await;
    shop.runs(async |_| {
        let order = Renamed {
            order_no,
            remark: note,
        };
        assert_eq!(renamed(order, shop.body()).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_argument_is_renamed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String));
    program!(new: [name = "orders.place", key = "number", retries = 0] (number: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        old("A-1".into(), shop.body()).await.unwrap();
        assert_own(old("fails".into(), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_reused(new("A-1".into(), shop.body()).await);
        // A handler with one argument gets its value, whatever its name.
        let body = shop.body();
        idem.register_handler("orders.place", move |number| new(number, Arc::clone(&body)));
        let run = runs_letter(idem).await.unwrap();
        assert!(
            matches!(&run, RunOutcome::Failed { error, .. } if error == "failure 3"),
            "{run:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn the_arguments_change_places() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, qty: u32));
    #[idempotent(name = "orders.place", key = "order_no", retries = 0, skip(body))]
    async fn new(qty: u32, order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&format!("{qty} of {order_no}"), &body)
    }
    let shop = Shop::new();
    shop.runs(async |_| old("A-1".into(), 2, shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| assert_eq!(new(2, "A-1".into(), shop.body()).await.unwrap(), 1))
        .await;
}

#[tokio::test]
async fn the_producer_is_deployed_first() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
        coupon: Option<String>,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order: After));
    let shop = Shop::new();
    let message = r#"{"order_no":"A-1","coupon":"tea"}"#;
    shop.runs(async |_| {
        // The coupon is lost, and not in the fingerprint.
        let order = serde_json::from_str(message).unwrap();
        old(order, shop.body()).await.unwrap()
    })
    .await;
    shop.runs(async |_| {
        let order = serde_json::from_str(message).unwrap();
        assert_reused(new(order, shop.body()).await);
    })
    .await;
}

#[tokio::test]
async fn the_consumer_is_deployed_first() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
        coupon: Option<String>,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order: After));
    let shop = Shop::new();
    let message = r#"{"order_no":"A-1"}"#;
    shop.runs(async |_| {
        let order = serde_json::from_str(message).unwrap();
        old(order, shop.body()).await.unwrap()
    })
    .await;
    shop.runs(async |_| {
        let order: After = serde_json::from_str(message).unwrap();
        assert_eq!(new(order, shop.body()).await.unwrap(), 1);
        let next = serde_json::from_str(r#"{"order_no":"A-2","coupon":"tea"}"#).unwrap();
        assert_eq!(new(next, shop.body()).await.unwrap(), 2);
    })
    .await;
}

// The result.

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

// The attribute.

#[tokio::test]
async fn retries_are_lowered() {
    program!(old: [name = "orders.place", key = "order_no", retries = 3, backoff(initial = "0ms")] (order_no: String));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order_no: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        for text in ["failure 1", "failure 2"] {
            assert_own(old("fails".into(), shop.body()).await, text);
        }
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(letters(idem).await, [], "a deploy alone makes no letter");
        assert_own(new("fails".into(), shop.body()).await, "failure 3");
        assert_eq!(only_letter(idem).await.attempts.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn retries_are_raised() {
    program!(old: [name = "orders.place", key = "order_no", retries = 1, backoff(initial = "0ms")] (order_no: String));
    program!(new: [name = "orders.place", key = "order_no", retries = 2, backoff(initial = "0ms")] (order_no: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        assert_own(old("fails".into(), shop.body()).await, "failure 1");
        for text in ["failure 2", "failure 3"] {
            assert_own(old("fails too".into(), shop.body()).await, text);
        }
    })
    .await;
    shop.runs(async |idem| {
        let dead = new("fails too".into(), shop.body())
            .await
            .unwrap_err()
            .into_idem();
        assert!(
            matches!(dead, Error::DeadLettered { .. }),
            "a letter stays one: {dead:?}"
        );
        for text in ["failure 4", "failure 5"] {
            assert_own(new("fails".into(), shop.body()).await, text);
        }
        assert_eq!(letters(idem).await.len(), 2);
        // A redrive has the budget of today.
        let of_before = Filter::default().key("fails too");
        let letter = idem
            .dead_letters()
            .list(&of_before)
            .await
            .unwrap()
            .remove(0);
        idem.dead_letters().redrive(&letter.id).await.unwrap();
        for text in ["failure 6", "failure 7", "failure 8"] {
            assert_own(new("fails too".into(), shop.body()).await, text);
        }
        assert_eq!(letters(idem).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_ttl_is_changed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0, ttl = "1d"] (order_no: String));
    program!(new: [name = "orders.place", key = "order_no", retries = 0, ttl = "10d"] (order_no: String));
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let shop = Shop::new();
    shop.runs(async |_| old("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| {
        shop.folder.clock.advance(DAY - Duration::from_secs(1));
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 1);
        shop.folder.clock.advance(Duration::from_secs(1));
        assert_eq!(
            new("A-1".into(), shop.body()).await.unwrap(),
            2,
            "it was recorded for a day"
        );
        shop.folder.clock.advance(DAY * 9);
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn where_it_is_retried_and_what_duplicates_get_is_changed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 2, backoff(initial = "0ms")] (order_no: String));
    #[idempotent(
        name = "orders.place",
        key = "order_no",
        retries = 2,
        backoff(initial = "0ms"),
        in_flight = "reject",
        skip(body)
    )]
    async fn new(order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&order_no, &body)
    }
    let shop = Shop::new();
    shop.runs(async |_| {
        assert_own(old("fails".into(), shop.body()).await, "failure 1");
        assert_eq!(old("A-1".into(), shop.body()).await.unwrap(), 2);
    })
    .await;
    shop.runs(async |idem| {
        // Inline it makes the two attempts that are left in one call.
        assert_own(new("fails".into(), shop.body()).await, "failure 4");
        assert_eq!(only_letter(idem).await.attempts.len(), 3);
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_key_is_changed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, shop: String));
    program!(new: [name = "orders.place", key = "shop, order_no", retries = 0] (order_no: String, shop: String));
    let shop = Shop::new();
    let order = |order_no: &str| (order_no.to_owned(), "tea".to_owned());
    shop.runs(async |_| {
        let (order_no, name) = order("A-1");
        old(order_no, name, shop.body()).await.unwrap();
        let (order_no, name) = order("fails");
        assert_own(old(order_no, name, shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        let (order_no, name) = order("A-1");
        let again = new(order_no, name, shop.body()).await.unwrap();
        assert_eq!(again, 3, "it runs again: nothing says that it is the same message");
        let body = shop.body();
        #[derive(Deserialize)]
        struct Arguments {
            order_no: String,
            shop: String,
        }
        idem.register_handler("orders.place", move |of: Arguments| {
            new(of.order_no, of.shop, Arc::clone(&body))
        });
        let run = runs_letter(idem).await.unwrap();
        assert!(
            matches!(&run, RunOutcome::Failed { error, .. } if error.contains("has the key `tea,fails`")),
            "{run:?}"
        );
        assert_eq!((shop.body.starts(), letters(idem).await.len()), (3, 1));
    })
    .await;
}

#[tokio::test]
async fn the_fingerprint_is_changed() {
    program!(all: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, note: String));
    program!(some: [name = "orders.place", key = "order_no", retries = 0, fingerprint(order_no)] (order_no: String, note: String));
    program!(off: [name = "orders.place", key = "order_no", retries = 0, fingerprint = "off"] (order_no: String, note: String));
    let shop = Shop::new();
    let note = || "ring".to_owned();
    shop.runs(async |_| all("A-1".into(), note(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| {
        assert_reused(some("A-1".into(), note(), shop.body()).await);
        assert_eq!(some("A-2".into(), note(), shop.body()).await.unwrap(), 2);
    })
    .await;
    shop.runs(async |_| {
        assert_eq!(off("A-1".into(), note(), shop.body()).await.unwrap(), 1);
        assert_eq!(off("A-3".into(), note(), shop.body()).await.unwrap(), 3);
    })
    .await;
    shop.runs(async |_| {
        assert_eq!(all("A-1".into(), note(), shop.body()).await.unwrap(), 1);
        assert_reused(all("A-2".into(), note(), shop.body()).await);
        assert_eq!(
            all("A-3".into(), "knock".into(), shop.body())
                .await
                .unwrap(),
            3
        );
    })
    .await;
}

#[tokio::test]
async fn the_name_is_changed() {
    program!(old: [name = "place_order", key = "order_no", retries = 0] (order_no: String));
    program!(without: [name = "orders.put", key = "order_no", retries = 0] (order_no: String));
    program!(with: [name = "orders.place", was = "place_order", key = "order_no", retries = 0] (order_no: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        old("A-1".into(), shop.body()).await.unwrap();
        assert_own(old("fails".into(), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(with("A-1".into(), shop.body()).await.unwrap(), 1);
        let dead = with("fails".into(), shop.body())
            .await
            .unwrap_err()
            .into_idem();
        assert!(matches!(dead, Error::DeadLettered { .. }), "{dead:?}");
        let body = shop.body();
        idem.register_handler("orders.place", move |order_no| {
            with(order_no, Arc::clone(&body))
        });
        let run = runs_letter(idem).await.unwrap();
        assert!(
            matches!(&run, RunOutcome::Failed { error, .. } if error == "failure 3"),
            "{run:?}"
        );
    })
    .await;
    shop.runs(async |_| {
        assert_eq!(
            without("A-1".into(), shop.body()).await.unwrap(),
            4,
            "it runs again"
        );
    })
    .await;
}

#[tokio::test]
async fn the_function_is_renamed_and_the_name_was_never_given() {
    #[idempotent(key = "order_no", retries = 0, skip(body))]
    async fn old(order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&order_no, &body)
    }
    #[idempotent(key = "order_no", retries = 0, skip(body))]
    async fn new(order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&order_no, &body)
    }
    let shop = Shop::new();
    shop.runs(async |_| old("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| {
        assert_eq!(
            new("A-1".into(), shop.body()).await.unwrap(),
            2,
            "it runs again"
        );
    })
    .await;
}

#[tokio::test]
async fn the_error_is_of_another_type_and_the_function_becomes_async() {
    #[idempotent(name = "orders.place", key = "order_no", retries = 0, skip(body))]
    fn old(order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&order_no, &body)
    }
    #[idempotent(name = "orders.place", key = "order_no", retries = 0, skip(body))]
    async fn new(
        order_no: String,
        body: Arc<Body>,
    ) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
        Ok(made(&order_no, &body)?)
    }
    let shop = Shop::new();
    shop.runs(async |_| {
        old("A-1".into(), shop.body()).unwrap();
        assert_own(old("fails".into(), shop.body()), "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 1);
        assert_eq!(only_letter(idem).await.last_error(), Some("failure 2"));
        let dead = new("fails".into(), shop.body()).await.unwrap_err();
        assert!(
            matches!(dead.downcast_ref(), Some(Error::DeadLettered { .. })),
            "{dead}"
        );
    })
    .await;
}

/// The page names each test, and each row of its tables ends with one.
#[test]
fn the_page_has_a_line_for_each_test() {
    let page = include_str!("../../../docs/changing-a-handler.md");
    let tests: Vec<_> = include_str!("changing_a_handler.rs")
        .split("#[tokio::test]\nasync fn ")
        .skip(1)
        .filter_map(|test| Some(test.split_once("()")?.0))
        .collect();
    for test in &tests {
        assert!(page.contains(&format!("`{test}`")), "no line for {test}");
    }
    let rows = page.lines().filter_map(|line| line.strip_suffix("` |"));
    let named: Vec<_> = rows
        .filter_map(|row| Some(row.rsplit_once('`')?.1))
        .collect();
    assert!(!named.is_empty());
    for name in named {
        assert!(tests.contains(&name), "no test {name}");
    }
}

//! Payloads that a call writes once it needs them: `HandlerCall::payload_later`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use idem_runtime::testing::{ManualClock, MemoryLedger, open_on, temporary, temporary_with};
use idem_runtime::{Error, HandlerDef, Idem, Origin, Verdict};
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::common::{Oops, only_letter};

/// An order that counts how often it is written.
#[derive(Clone, Default)]
struct Order {
    note: String,
    written: Arc<AtomicU32>,
}

impl Order {
    fn noted(note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..Self::default()
        }
    }

    fn written(&self) -> u32 {
        self.written.load(Ordering::SeqCst)
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.fetch_add(1, Ordering::SeqCst);
        assert_ne!(self.note, "panics");
        json!({"note": self.note, "card_no": "4111"}).serialize(serializer)
    }
}

static HANDLER: LazyLock<HandlerDef> = LazyLock::new(|| {
    let handler = HandlerDef::builder("late.order").retries(0);
    handler.redact(["card_no"]).build().unwrap()
});

async fn call(
    idem: &Idem,
    key: &str,
    order: &Order,
    result: Result<u32, Oops>,
) -> Result<u32, Oops> {
    let call = idem.call::<Oops>(&HANDLER).key(key);
    let call = call.fingerprint(&order.note).payload_later(order.clone());
    let mut result = Some(result);
    call.run(|| std::future::ready(result.take().expect("one attempt")))
        .await
}

#[tokio::test]
async fn a_duplicate_of_a_recorded_result_does_not_write_it() {
    let (idem, order) = (temporary().unwrap(), Order::default());
    assert_eq!(call(&idem, "A-1", &order, Ok(7)).await.unwrap(), 7);
    assert_eq!(order.written(), 1);
    assert_eq!(call(&idem, "A-1", &order, Ok(8)).await.unwrap(), 7);
    assert_eq!(order.written(), 1);
    let reused = call(&idem, "A-1", &Order::noted("other"), Ok(8)).await;
    let reused = reused.unwrap_err().into_idem();
    assert!(matches!(reused, Error::KeyReused { .. }), "{reused:?}");
}

#[tokio::test]
async fn a_ledger_that_cannot_be_looked_into_gets_it_with_each_claim() {
    let ledger = MemoryLedger::new(Arc::new(ManualClock::default()));
    let idem = open_on(Idem::builder(), ledger).unwrap();
    let order = Order::default();
    for _ in 0..2 {
        assert_eq!(call(&idem, "A-1", &order, Ok(7)).await.unwrap(), 7);
    }
    assert_eq!(order.written(), 2);
}

#[tokio::test]
async fn a_letter_holds_it_redacted() {
    let (idem, order) = (temporary().unwrap(), Order::noted("two"));
    let failed = call(&idem, "A-1", &order, Err(Oops::own("sold out"))).await;
    assert_eq!(failed.unwrap_err().into_own(), "sold out");
    let shown = json!({"payload": {"note": "two", "card_no": "[redacted]"}});
    assert_eq!(only_letter(&idem).await.payload, shown.into());
}

#[tokio::test]
async fn one_that_cannot_be_stored_is_refused_before_anything_runs() {
    let idem = temporary_with(Idem::builder().payload_limit(100)).unwrap();
    let large = Order::noted("x".repeat(100));
    let refused = call(&idem, "A-1", &large, Ok(7)).await;
    let refused = refused.unwrap_err().into_idem();
    assert!(
        matches!(&refused, Error::PayloadTooLarge { key, limit: 100, .. } if key == "A-1"),
        "{refused:?}"
    );
    let refused = call(&idem, "A-1", &Order::noted("panics"), Ok(7)).await;
    let refused = refused.unwrap_err().into_idem();
    assert!(
        matches!(&refused, Error::Codec { problem, .. } if problem.contains("panicked")),
        "{refused:?}"
    );
    // Neither has claimed the key.
    assert_eq!(
        call(&idem, "A-1", &Order::default(), Ok(8)).await.unwrap(),
        8
    );
}

#[tokio::test]
async fn without_a_fingerprint_it_is_compared() {
    let idem = temporary().unwrap();
    let call = async |note: &str| {
        let call = idem.call::<Oops>(&HANDLER).key("A-1");
        let call = call.payload_later(Order::noted(note));
        call.run(async || Ok(7)).await
    };
    assert_eq!(call("one").await.unwrap(), 7);
    assert_eq!(call("one").await.unwrap(), 7);
    let reused = call("two").await.unwrap_err().into_idem();
    assert!(matches!(reused, Error::KeyReused { .. }), "{reused:?}");
}

#[tokio::test]
async fn a_delivery_that_is_refused_is_compared_with_the_message_that_has_the_key() {
    let (idem, origin) = (temporary().unwrap(), Origin::new("rabbitmq", "orders"));
    let failed = call(
        &idem,
        "A-1",
        &Order::noted("one"),
        Err(Oops::own("sold out")),
    )
    .await;
    failed.unwrap_err();
    let other = Order::noted("two");
    let again = call(&idem, "A-1", &other, Ok(8));
    let Verdict::Refused(refusal) = idem.deliver(origin.clone(), again).await.verdict else {
        panic!("it is refused")
    };
    let id = idem.bury_refused(&refusal, "m-1", b"{}", origin).await;
    let letter = idem
        .dead_letters()
        .get(&id.unwrap())
        .await
        .unwrap()
        .unwrap();
    let differences = letter.reused.unwrap().differences.unwrap();
    assert_eq!(differences[0].path, "payload.note");
}

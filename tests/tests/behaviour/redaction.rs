//! What `redact(…)` names is in the body's hands, and in no byte of the data folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use idem_runtime::dead_letters::LetterError;
use idem_runtime::ledger::SledLedger;
use idem_runtime::protocol::{Budget, Claim, RecordId, Reply, Step};
use idem_runtime::testing::{ManualClock, temporary, temporary_with};
use idem_runtime::{
    DeadLetter, Error, Idem, Ledger,
    dead_letters::{REDACTED, Reason, RunOutcome},
    idempotent,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::common::{Body, Log, Oops, on, only_letter, poll_once, soon};

const CARD: &str = "4111-1111-1111-1111";
const OTHER_CARD: &str = "5500-0000-0000-0004";
const PHONE: &str = "+49-170-5550123";
const VOUCHER: &str = "voucher-77e1-x";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    order_no: String,
    buyer: Buyer,
    lines: Vec<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coupon: Option<String>,
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Buyer {
    name: String,
    phone: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    sku: String,
    voucher: String,
}

fn order(order_no: &str) -> Order {
    let line = |sku: &str, number: u32| Line {
        sku: sku.into(),
        voucher: format!("{VOUCHER}{number}"),
    };
    Order {
        order_no: order_no.into(),
        buyer: Buyer {
            name: "Ida Muster".into(),
            phone: Some(PHONE.into()),
        },
        lines: vec![line("TEA-500", 1), line("JAM-250", 2)],
        coupon: None,
        note: None,
    }
}

/// No secret in any file of the folder, and what is none in at least one of them, so that it is
/// known to look.
#[track_caller]
fn assert_no_secret_in(folder: &Path) {
    let mut seen = false;
    for_each_file(folder, &mut |path, bytes| {
        let contains = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        for secret in [CARD, OTHER_CARD, PHONE, VOUCHER] {
            assert!(!contains(secret), "{secret} is in {}", path.display());
        }
        seen |= contains("Ida Muster") && contains("TEA-500");
    });
    assert!(seen, "not even the rest of the payload is in the folder");
}

pub(crate) fn for_each_file(folder: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => for_each_file(&path, look),
            false => look(&path, &fs::read(&path).unwrap()),
        }
    }
}

/// A folder and its Idem, on a clock that stands still.
struct Shop {
    clock: ManualClock,
    folder: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        Self {
            clock: ManualClock::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> Idem {
        Idem::builder()
            .clock(Arc::new(self.clock.clone()))
            .open(self.folder.path())
            .unwrap()
    }

    #[track_caller]
    fn holds_no_secret(&self) {
        assert_no_secret_in(self.folder.path());
    }
}

#[idempotent(
    name = "redaction.charge",
    key = "order.order_no",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "30s"),
    redact(card_no, "order.buyer.phone, order.lines.voucher", order.coupon, order.note),
    skip(body, got)
)]
async fn charge(
    order: Order,
    card_no: String,
    body: &Body,
    got: &Log<(Order, String)>,
) -> Result<u32, Oops> {
    let number = body.run().await;
    got.push((order, card_no));
    if number <= 2 {
        Err(Oops::own(format!("failure {number}")))
    } else {
        Ok(number)
    }
}

#[tokio::test]
async fn a_secret_is_never_in_the_folder_while_it_runs_waits_is_dead_and_is_done() {
    let (shop, body, got) = (Shop::new(), Body::shut(), Log::default());
    let idem = shop.open();
    idem.scope(async {
        let call = || charge(order("A-1"), CARD.into(), &body, &got);
        let mut first = Box::pin(call());
        body.holds(&mut first, 1).await;
        shop.holds_no_secret();
        body.let_go();
        assert_eq!(soon(first).await.unwrap_err().into_own(), "failure 1");
        shop.holds_no_secret();
        let error = charge(order("A-1"), OTHER_CARD.into(), &body, &got)
            .await
            .unwrap_err()
            .into_idem();
        assert!(matches!(error, Error::NotYet { .. }), "{error:?}");

        shop.clock.advance(Duration::from_secs(30));
        assert_eq!(call().await.unwrap_err().into_own(), "failure 2");
        shop.holds_no_secret();
        let error = charge(order("A-1"), OTHER_CARD.into(), &body, &got)
            .await
            .unwrap_err()
            .into_idem();
        assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
        shop.holds_no_secret();
    })
    .await;
    idem.close().await.unwrap();
    shop.holds_no_secret();

    let idem = shop.open();
    idem.scope(async {
        idem.dead_letters()
            .redrive(&only_letter(&idem).await.id)
            .await
            .unwrap();
        for card in [CARD, OTHER_CARD] {
            assert_eq!(
                charge(order("A-1"), card.into(), &body, &got)
                    .await
                    .unwrap(),
                3
            );
            shop.holds_no_secret();
        }
    })
    .await;
    idem.close().await.unwrap();
    shop.holds_no_secret();
    assert_eq!(
        got.take(),
        vec![(order("A-1"), CARD.to_owned()); 3],
        "the body gets the real arguments each time"
    );
}

#[idempotent(name = "redaction.open", key = "order_no", skip(body))]
async fn unredacted(order_no: &str, card_no: &str, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn without_redaction_it_would_be_found() {
    let (shop, body) = (Shop::new(), Body::shut());
    let idem = shop.open();
    let mut call = Box::pin(idem.scope(unredacted("A-1", CARD, &body)));
    body.holds(&mut call, 1).await;
    let mut found = false;
    for_each_file(shop.folder.path(), &mut |_, bytes| {
        found |= bytes
            .windows(CARD.len())
            .any(|part| part == CARD.as_bytes());
    });
    assert!(found);
    body.let_go();
    soon(call).await.unwrap();
}

/// The letter of an order that failed as often as it may.
async fn dead(order: Order) -> DeadLetter {
    let (clock, body, got) = (ManualClock::default(), Body::open(), Log::default());
    let idem = on(&clock);
    idem.scope(async {
        for _ in 0..2 {
            charge(order.clone(), CARD.into(), &body, &got)
                .await
                .unwrap_err()
                .into_own();
            clock.advance(Duration::from_secs(30));
        }
    })
    .await;
    only_letter(&idem).await
}

#[tokio::test]
async fn a_letter_shows_what_was_redacted_and_what_is_still_missing() {
    let mut letter = dead(Order {
        coupon: Some("TEN-PERCENT".into()),
        ..order("A-1")
    })
    .await;
    let line = |sku: &str| json!({"sku": sku, "voucher": REDACTED});
    let expected = json!({
        "order": {
            "order_no": "A-1",
            "buyer": {"name": "Ida Muster", "phone": REDACTED},
            "lines": [line("TEA-500"), line("JAM-250")],
            "coupon": REDACTED,
            "note": null,
        },
        "card_no": REDACTED,
    });
    assert_eq!(letter.payload.to_value().unwrap(), expected);
    let all = [
        "card_no",
        "order.buyer.phone",
        "order.lines.voucher",
        "order.coupon",
        "order.note",
    ];
    assert_eq!(letter.redacted, all, "what was not there is in the list");
    let all = &all[..4];
    assert_eq!(
        letter.missing().collect::<Vec<_>>(),
        all,
        "and is not missing"
    );

    let mut payload = letter.payload.to_value().unwrap();
    payload["card_no"] = CARD.into();
    payload["order"]["lines"][0]["voucher"] = "v".into();
    letter.payload = payload.clone().into();
    assert_eq!(
        letter.missing().collect::<Vec<_>>(),
        all[1..],
        "one of the lines still is"
    );
    payload["order"]["lines"][1]["voucher"] = "v".into();
    payload["order"]["buyer"]["phone"] = PHONE.into();
    payload["order"]["coupon"] = json!(null);
    letter.payload = payload.into();
    assert_eq!(letter.missing().count(), 0);
}

#[tokio::test]
async fn a_letter_without_the_optional_parts_does_not_miss_them() {
    let buyer = Buyer {
        name: "Ida Muster".into(),
        phone: None,
    };
    let letter = dead(Order {
        buyer,
        lines: Vec::new(),
        ..order("A-1")
    })
    .await;
    assert_eq!(letter.missing().collect::<Vec<_>>(), ["card_no"]);
    let expected = json!({
        "order_no": "A-1", "buyer": {"name": "Ida Muster", "phone": null}, "lines": [], "note": null,
    });
    assert_eq!(letter.payload.to_value().unwrap()["order"], expected);
}

#[idempotent(
    name = "redaction.pay",
    key = "order_no",
    retries = 2,
    backoff(initial = "0ms"),
    redact(card_no),
    skip(body, got)
)]
async fn pay(
    order_no: String,
    card_no: String,
    cents: u64,
    body: &Body,
    got: &Log<String>,
) -> Result<u64, Oops> {
    got.push(card_no);
    if body.run().await < 3 {
        Err(Oops::own("again"))
    } else {
        Ok(cents)
    }
}

#[tokio::test]
async fn the_body_gets_the_real_arguments_in_every_retry_and_a_duplicate_with_another_card_is_a_replay()
 {
    let (idem, body, got) = (temporary().unwrap(), Body::open(), Log::default());
    idem.scope(async {
        assert_eq!(
            pay("A-1".into(), CARD.into(), 500, &body, &got)
                .await
                .unwrap(),
            500
        );
        assert_eq!(
            pay("A-1".into(), OTHER_CARD.into(), 500, &body, &got)
                .await
                .unwrap(),
            500
        );
        let error = pay("A-1".into(), CARD.into(), 600, &body, &got)
            .await
            .unwrap_err()
            .into_idem();
        assert!(
            matches!(error, Error::KeyReused { .. }),
            "what is not redacted counts: {error:?}"
        );
    })
    .await;
    assert_eq!((got.take(), body.starts()), (vec![CARD.to_owned(); 3], 3));
}

#[tokio::test]
async fn a_duplicate_with_another_card_waits_for_the_first_one_too() {
    let (idem, body, got) = (temporary().unwrap(), Body::shut(), Log::default());
    body.start();
    body.start();
    idem.scope(async {
        let mut first = Box::pin(pay("A-1".into(), CARD.into(), 500, &body, &got));
        body.holds(&mut first, 3).await;
        let mut other = Box::pin(pay("A-1".into(), OTHER_CARD.into(), 500, &body, &got));
        assert!(poll_once(other.as_mut()).await.is_none());
        body.let_go();
        let (first, other) = soon(join(first, other)).await;
        assert_eq!((first.unwrap(), other.unwrap()), (500, 500));
    })
    .await;
    assert_eq!(got.take(), [CARD]);
}

#[derive(Clone, Serialize)]
struct Json<T>(T);

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Renamed {
    id: u32,
    card_no: String,
    account: u128,
}

#[idempotent(
    name = "redaction.field",
    key = "order.id",
    retries = 0,
    redact("card-no")
)]
fn of_a_field(Json(order): Json<Renamed>) -> Result<(), Oops> {
    Err(Oops::own(format!("no {}", order.account)))
}

#[idempotent(
    name = "redaction.all",
    key = "id",
    retries = 0,
    redact(mut_card),
    fingerprint(id)
)]
fn of_a_mutable_argument(id: u32, mut mut_card: Vec<String>) -> Result<(), Oops> {
    mut_card.clear();
    Err(Oops::own("no"))
}

#[idempotent(
    name = "redaction.raw",
    key = "id",
    retries = 0,
    fingerprint = "off",
    redact("r#type")
)]
fn of_a_raw_name(id: u32, r#type: &str) -> Result<(), Oops> {
    Err(Oops::own(format!("no {}", r#type.len())))
}

#[tokio::test]
async fn paths_lead_to_the_names_in_the_stored_json() {
    let letter = async |call: &dyn Fn() -> Result<(), Oops>| {
        let idem = temporary().unwrap();
        idem.scope(async { call().unwrap_err().into_own() }).await;
        only_letter(&idem).await
    };
    let account = u128::MAX;
    let field = letter(&|| {
        of_a_field(Json(Renamed {
            id: 1,
            card_no: CARD.into(),
            account,
        }))
    })
    .await;
    assert_eq!(
        field.payload.to_value().unwrap()["order"]["card-no"],
        REDACTED
    );
    assert_eq!(
        (
            &field.payload.to_value().unwrap()["order"]["id"],
            &field.redacted[..]
        ),
        (&json!(1), &["order.card-no".to_owned()][..])
    );
    let whole = letter(&|| of_a_mutable_argument(1, vec![CARD.into()])).await;
    assert_eq!(
        whole.payload.to_value().unwrap(),
        json!({"id": 1, "mut_card": REDACTED}),
        "a path that ends at an array is all of it"
    );
    let raw = letter(&|| of_a_raw_name(1, CARD)).await;
    assert_eq!(
        raw.payload.to_value().unwrap(),
        json!({"id": 1, "type": REDACTED})
    );
}

#[idempotent(name = "redaction.many", key = "id", redact(secrets.x), skip(body))]
async fn many(id: u32, secrets: &[Secret], body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[derive(Serialize)]
struct Secret {
    x: u8,
}

#[tokio::test]
async fn a_payload_that_placeholders_make_too_large_is_refused_before_the_body_runs() {
    let (idem, body) = (
        temporary_with(Idem::builder().payload_limit(1000)).unwrap(),
        Body::open(),
    );
    let secrets = |count| (0..count).map(|_| Secret { x: 1 }).collect::<Vec<_>>();
    idem.scope(async {
        assert_eq!(many(1, &secrets(40), &body).await.unwrap(), 1);
        let error = many(2, &secrets(80), &body).await.unwrap_err();
        assert!(
            matches!(error, Error::PayloadTooLarge { limit: 1000, .. }),
            "{error:?}"
        );
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn the_letter_of_a_process_that_died_knows_what_was_redacted() {
    let shop = Shop::new();
    let clock = Arc::new(shop.clock.clone());
    let ledger = SledLedger::open(shop.folder.path(), 64 << 20, clock, "dead".to_owned()).unwrap();
    let claim = Claim::new(
        "dead",
        br#"{"card_no":"[redacted]"}"#.as_slice(),
        Budget::new(0, Duration::from_secs(60)),
        Duration::from_secs(30),
    )
    .redacted(["card_no".to_owned()]);
    let id = RecordId::new("redaction.dead", "A-1");
    assert!(matches!(
        ledger.apply(&id, Step::Claim(claim)).await.unwrap(),
        Reply::Run(_)
    ));
    drop(ledger);
    let letter = only_letter(&shop.open()).await;
    assert_eq!(
        (letter.reason, &letter.redacted[..]),
        (Reason::BudgetSpent, &["card_no".to_owned()][..])
    );
    assert_eq!(letter.missing().collect::<Vec<_>>(), ["card_no"]);
}

#[idempotent(
    name = "redaction.grows",
    key = "id",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "0ms"),
    fingerprint = "off",
    redact(coupon)
)]
async fn grows(id: u32, coupon: Option<&str>) -> Result<(), Oops> {
    Err(Oops::own(format!("no {}", coupon.is_some())))
}

#[tokio::test]
async fn a_letter_knows_what_was_redacted_of_the_delivery_it_shows() {
    let idem = temporary().unwrap();
    idem.scope(async {
        grows(1, None).await.unwrap_err().into_own();
        grows(1, Some(VOUCHER)).await.unwrap_err().into_own();
    })
    .await;
    let letter = only_letter(&idem).await;
    assert_eq!(
        letter.payload.to_value().unwrap(),
        json!({"id": 1, "coupon": REDACTED})
    );
    assert_eq!(letter.redacted, ["coupon"]);
}

/// An order whose letter was written before there was a phone, a coupon or a note, and the card.
fn filled_in() -> (Value, Value) {
    let without = json!({
        "order_no": "A-1", "buyer": {"name": "Ida Muster", "phone": null}, "lines": [{"sku": "TEA-500", "voucher": VOUCHER}],
        "note": null,
    });
    let mut with = without.clone();
    with["buyer"]["phone"] = PHONE.into();
    with["coupon"] = OTHER_CARD.into();
    with["note"] = CARD.into();
    (without, with)
}

/// A letter in a folder, whose handler fails as long as there is no coupon.
async fn letter_of_an_order_without(shop: &Shop) -> (Idem, DeadLetter) {
    let idem = shop.open();
    let (without, _) = filled_in();
    let order: Order = serde_json::from_value(without).unwrap();
    idem.scope(take(order, CARD.into())).await.unwrap_err();
    idem.register_handler("redaction.take", |Take { order, card_no }| {
        take(order, card_no)
    });
    let letter = only_letter(&idem).await;
    assert_eq!(
        letter.missing().collect::<Vec<_>>(),
        ["card_no", "order.lines.voucher"]
    );
    (idem, letter)
}

#[derive(Deserialize)]
struct Take {
    order: Order,
    card_no: String,
}

#[idempotent(
    name = "redaction.take",
    key = "order.order_no",
    retries = 0,
    redact(card_no, "order.buyer.phone, order.lines.voucher", order.coupon, order.note)
)]
async fn take(order: Order, card_no: String) -> Result<usize, Oops> {
    if order.coupon.is_some() {
        Ok(card_no.len())
    } else {
        Err(Oops::own("no coupon"))
    }
}

/// The letter as the API shows it, its history with it, and the folder.
#[track_caller]
fn assert_stored_nowhere(shop: &Shop, letter: &DeadLetter) {
    let shown = serde_json::to_string(letter).unwrap() + &format!("{letter:?}");
    for secret in [CARD, OTHER_CARD, PHONE, VOUCHER] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    shop.holds_no_secret();
}

#[tokio::test]
async fn what_was_absent_and_is_filled_in_by_an_edit_a_run_or_both_is_stored_nowhere() {
    let (_, with) = filled_in();
    let arguments = || json!({ "order": with, "card_no": CARD });
    for (edits, runs) in [(true, false), (false, true), (true, true)] {
        let shop = Shop::new();
        let (idem, letter) = letter_of_an_order_without(&shop).await;
        let letters = idem.dead_letters();
        if edits {
            let edited = letters
                .edit(&letter.id, arguments(), "the rest")
                .await
                .unwrap();
            assert_stored_nowhere(&shop, &edited);
            assert_eq!(
                edited.missing().count(),
                5,
                "what was filled in would be missing to a run"
            );
            assert!(
                matches!(letters.run(&letter.id).await, Err(LetterError::Redacted { missing, .. }) if missing.len() == 5)
            );
        }
        if runs {
            let ran = letters
                .run_with(&letter.id, arguments(), "all of it")
                .await
                .unwrap();
            assert_eq!(
                ran,
                RunOutcome::Done(CARD.len().into()),
                "the body gets it all"
            );
        }
        assert_stored_nowhere(&shop, &letters.get(&letter.id).await.unwrap().unwrap());
        idem.close().await.unwrap();
        shop.holds_no_secret();
    }
}

#[idempotent(
    name = "redaction.one",
    key = "order.order_no",
    retries = 0,
    redact("order.note", "order.buyer.phone")
)]
async fn one(order: Order) -> Result<(), Oops> {
    if order.note.is_some() {
        Ok(())
    } else {
        Err(Oops::own("no note"))
    }
}

#[tokio::test]
async fn a_handlers_only_argument_given_without_its_name_is_stored_as_little() {
    let shop = Shop::new();
    let idem = shop.open();
    let order = || Order {
        lines: Vec::new(),
        ..order("A-1")
    };
    idem.scope(one(Order {
        buyer: Buyer {
            name: "Ida Muster".into(),
            phone: None,
        },
        ..order()
    }))
    .await
    .unwrap_err();
    idem.register_handler("redaction.one", one);
    let (letters, id) = (idem.dead_letters(), only_letter(&idem).await.id);
    let alone = serde_json::to_value(Order {
        note: Some(CARD.into()),
        coupon: Some("TEA-500".into()),
        ..order()
    })
    .unwrap();
    let edited = letters
        .edit(&id, alone.clone(), "as the queue has it")
        .await
        .unwrap();
    assert_stored_nowhere(&shop, &edited);
    assert!(matches!(
        letters.run(&id).await,
        Err(LetterError::Redacted { .. })
    ));
    assert_eq!(
        letters.run_with(&id, alone, "again").await.unwrap(),
        RunOutcome::Done(().into())
    );
    assert_stored_nowhere(&shop, &letters.get(&id).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_letter_that_knows_only_what_was_found_has_the_handlers_paths_too() {
    let shop = Shop::new();
    let clock = Arc::new(shop.clock.clone());
    let ledger = SledLedger::open(shop.folder.path(), 64 << 20, clock, "dead".to_owned()).unwrap();
    let (without, with) = filled_in();
    let old = json!({ "order": without, "card_no": REDACTED })
        .to_string()
        .replace(VOUCHER, REDACTED);
    let claim = Claim::new(
        "dead",
        old.into_bytes(),
        Budget::new(0, Duration::from_secs(60)),
        Duration::from_secs(30),
    )
    .redacted(["card_no".to_owned(), "order.lines.voucher".to_owned()]);
    let id = RecordId::new("redaction.take", "A-1");
    assert!(matches!(
        ledger.apply(&id, Step::Claim(claim)).await.unwrap(),
        Reply::Run(_)
    ));
    drop(ledger);
    let idem = shop.open();
    idem.register_handler("redaction.take", |Take { order, card_no }| {
        take(order, card_no)
    });
    // This process has called the handler, so it knows.
    idem.scope(take(
        Order {
            coupon: Some("TEN".into()),
            ..order("A-2")
        },
        CARD.into(),
    ))
    .await
    .unwrap();
    let id = only_letter(&idem).await.id;
    let arguments = json!({ "order": with, "card_no": CARD });
    let edited = idem
        .dead_letters()
        .edit(&id, arguments.clone(), "the rest")
        .await
        .unwrap();
    assert_stored_nowhere(&shop, &edited);
    let ran = idem
        .dead_letters()
        .run_with(&id, arguments, "all of it")
        .await
        .unwrap();
    assert_eq!(ran, RunOutcome::Done(CARD.len().into()));
    assert_stored_nowhere(&shop, &idem.dead_letters().get(&id).await.unwrap().unwrap());
}

#[idempotent(
    name = "redaction.shown",
    key = "order_no",
    retries = 0,
    redact(card_no)
)]
async fn shown(order_no: &str, card_no: &str) -> Result<(), Oops> {
    Err(Oops::own(format!("the card {card_no} was declined")))
}

#[tokio::test]
async fn an_error_text_is_stored_as_the_body_wrote_it() {
    let idem = temporary().unwrap();
    idem.scope(shown("A-1", CARD)).await.unwrap_err();
    let letter = only_letter(&idem).await;
    assert_eq!(letter.payload.to_value().unwrap()["card_no"], REDACTED);
    assert!(
        letter.last_error().unwrap().contains(CARD),
        "so the body must not write it"
    );
}

//! What is redacted and sealed: no one sees it, and a run or a republish of the letter has it.

use std::path::Path;
use std::sync::Arc;

use idem_runtime::dead_letters::{LetterError, REDACTED, RunOutcome};
use idem_runtime::{DeadLetter, Error, Idem, LetterState, Origin, SealKeys, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Log, Oops, only_letter};
use crate::redaction::for_each_file;

const CARD: &str = "4111-2222-3333-4444";
const OTHER_CARD: &str = "5500-9999-8888-7777";
const VOUCHERS: [&str; 2] = ["voucher-aa-1", "voucher-bb-2"];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pay {
    order: Order,
    card_no: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    order_no: String,
    cents: u128,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    sku: String,
    voucher: String,
}

/// An order of which no digit may be lost.
fn order() -> Order {
    let line = |(sku, voucher): (&str, &str)| Line {
        sku: sku.into(),
        voucher: voucher.into(),
    };
    Order {
        order_no: "A-1".into(),
        cents: u128::MAX,
        lines: ["TEA-500", "JAM-250"]
            .into_iter()
            .zip(VOUCHERS)
            .map(line)
            .collect(),
    }
}

fn arguments() -> Pay {
    Pay {
        order: order(),
        card_no: CARD.into(),
    }
}

#[idempotent(
    name = "sealing.pay",
    key = "order.order_no",
    retries = 0,
    redact(card_no, "order.lines.voucher"),
    skip(up, got)
)]
async fn pay(order: Order, card_no: String, up: bool, got: &Log<Pay>) -> Result<(), Oops> {
    got.push(Pay { order, card_no });
    if up {
        Ok(())
    } else {
        Err(Oops::own("the bank is away"))
    }
}

/// A folder, and what its handlers got.
struct Shop {
    folder: TempDir,
    got: Arc<Log<Pay>>,
}

impl Shop {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            got: Arc::default(),
        }
    }

    fn open(&self, keys: Option<SealKeys>) -> Idem {
        let builder = match keys {
            Some(keys) => Idem::builder().seal(keys),
            None => Idem::builder(),
        };
        let idem = builder.open(self.folder.path()).unwrap();
        let got = Arc::clone(&self.got);
        idem.register_handler("sealing.pay", move |Pay { order, card_no }| {
            let got = Arc::clone(&got);
            async move { pay(order, card_no, true, &got).await }
        });
        idem
    }

    /// The letter of a payment that failed.
    async fn dead(&self, idem: &Idem) -> DeadLetter {
        let Pay { order, card_no } = arguments();
        idem.scope(pay(order, card_no, false, &self.got))
            .await
            .unwrap_err();
        self.got.take();
        only_letter(idem).await
    }

    /// No file of the folder, and nothing that is shown of a letter, has a secret.
    #[track_caller]
    fn shows_no_secret(&self, letter: &DeadLetter) {
        let shown = serde_json::to_string(letter).unwrap() + &format!("{letter:?}");
        assert!(shown.contains(REDACTED), "{shown}");
        assert!(!has_secret(shown.as_bytes()), "{shown}");
        assert!(!has_secret(&letter.message()));
        self.stores_no_secret();
    }

    #[track_caller]
    fn stores_no_secret(&self) {
        let look = |path: &Path, bytes: &[u8]| {
            assert!(!has_secret(bytes), "{} has a secret", path.display());
        };
        for_each_file(self.folder.path(), &mut { look });
    }
}

fn has_secret(bytes: &[u8]) -> bool {
    let has = |secret: &str| {
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    };
    [CARD, OTHER_CARD].into_iter().chain(VOUCHERS).any(has)
}

fn keys() -> SealKeys {
    SealKeys::new("2026-11", &[7; 32])
}

#[tokio::test]
async fn a_letter_shows_no_secret_and_its_run_has_each_one() {
    let shop = Shop::new();
    let idem = shop.open(Some(keys()));
    let letter = shop.dead(&idem).await;
    shop.shows_no_secret(&letter);
    assert_eq!(letter.missing().count(), 0, "{letter:?}");
    assert!(idem.can_open(&letter));
    let shown = serde_json::to_value(&letter).unwrap();
    assert_eq!(
        shown["sealed"],
        json!({ "key": "2026-11", "places": [
            "/order/lines#0:2/voucher", "/order/lines#1:2/voucher", "/card_no",
        ]})
    );
    idem.close().await.unwrap();

    let idem = shop.open(Some(keys()));
    let ran = idem.dead_letters().run(&letter.id).await.unwrap();
    assert_eq!(ran, RunOutcome::Done(().into()));
    assert_eq!(shop.got.take(), [arguments()]);
    idem.close().await.unwrap();
    shop.stores_no_secret();
}

#[tokio::test]
async fn an_older_key_opens_and_a_lost_one_is_an_error_that_leaves_the_letter_open() {
    let shop = Shop::new();
    let idem = shop.open(Some(keys()));
    let letter = shop.dead(&idem).await;
    idem.close().await.unwrap();

    let new = || SealKeys::new("2027-01", &[8; 32]);
    for (keys, part) in [
        (None, "this service does not have"),
        (Some(new()), "this service does not have"),
        (
            Some(SealKeys::new("2026-11", &[9; 32])),
            "does not open them",
        ),
    ] {
        let idem = shop.open(keys);
        let error = idem.dead_letters().run(&letter.id).await.unwrap_err();
        let text = error.to_string();
        for named in [
            part,
            "`2026-11`",
            "`sealing.pay`",
            "`A-1`",
            &letter.id.to_string(),
        ] {
            assert!(text.contains(named), "{text}");
        }
        let open = only_letter(&idem).await;
        assert_eq!(
            (&open.sealed, open.state),
            (&letter.sealed, LetterState::Open)
        );
        idem.close().await.unwrap();
    }
    assert_eq!(shop.got.take(), []);

    let idem = shop.open(Some(new().older("2026-11", &[7; 32])));
    assert_eq!(
        idem.dead_letters().run(&letter.id).await.unwrap(),
        RunOutcome::Done(().into())
    );
    assert_eq!(shop.got.take(), [arguments()]);
}

#[tokio::test]
async fn a_letter_whose_key_is_lost_runs_with_its_parts_filled_in() {
    let shop = Shop::new();
    let idem = shop.open(Some(keys()));
    let letter = shop.dead(&idem).await;
    idem.close().await.unwrap();
    let idem = shop.open(None);
    let letters = idem.dead_letters();
    let payload = serde_json::to_string(&arguments()).unwrap();
    let mut some: Value = letter.payload.to_value().unwrap();
    some["card_no"] = OTHER_CARD.into();
    let error = letters.run_with(&letter.id, some, "a part of it").await;
    assert!(
        matches!(error, Err(LetterError::Sealed { known: false, .. })),
        "{error:?}"
    );
    let payload: idem_runtime::json::Json = serde_json::from_str(&payload).unwrap();
    let ran = letters
        .run_with(&letter.id, payload, "all of it")
        .await
        .unwrap();
    assert_eq!(ran, RunOutcome::Done(().into()));
    assert_eq!(shop.got.take(), [arguments()]);
    shop.stores_no_secret();
}

/// A letter's payload with these changes of its text.
fn edited(letter: &DeadLetter, changes: &[(&str, &str)]) -> idem_runtime::json::Json {
    let mut text = letter.payload.as_str().to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn an_edit_replaces_what_it_gives_and_keeps_the_rest() {
    let shop = Shop::new();
    let idem = shop.open(Some(keys()));
    let letters = idem.dead_letters().by("ann");
    let letter = shop.dead(&idem).await;
    let card = format!(r#""card_no":"{OTHER_CARD}""#);
    let changes = [
        (r#""card_no":"[redacted]""#, card.as_str()),
        ("TEA-500", "TEA-250"),
    ];
    let after = letters
        .edit(&letter.id, edited(&letter, &changes), "another card")
        .await
        .unwrap();
    shop.shows_no_secret(&after);
    assert!(after.payload.as_str().contains("TEA-250"));
    // An edit of what is not redacted needs no key.
    idem.close().await.unwrap();
    let idem = shop.open(None);
    let changes = [("JAM-250", "JAM-500")];
    let after = idem
        .dead_letters()
        .edit(&letter.id, edited(&after, &changes), "more jam")
        .await
        .unwrap();
    assert_eq!(after.missing().count(), 0);
    idem.close().await.unwrap();

    let idem = shop.open(Some(keys()));
    let ran = idem.dead_letters().run(&letter.id).await.unwrap();
    assert_eq!(ran, RunOutcome::Done(().into()));
    let mut expected = arguments();
    expected.card_no = OTHER_CARD.into();
    expected.order.lines[0].sku = "TEA-250".into();
    expected.order.lines[1].sku = "JAM-500".into();
    assert_eq!(shop.got.take(), [expected]);
    shop.stores_no_secret();
}

#[tokio::test]
async fn an_array_of_another_length_misses_its_parts() {
    let shop = Shop::new();
    let idem = shop.open(Some(keys()));
    let letters = idem.dead_letters();
    let letter = shop.dead(&idem).await;
    let second = r#"{"sku":"TEA-500","voucher":"[redacted]"},"#;
    let payload = edited(&letter, &[(second, "")]);
    let after = letters.edit(&letter.id, payload, "no tea").await.unwrap();
    assert_eq!(after.missing().collect::<Vec<_>>(), ["order.lines.voucher"]);
    let error = letters.run(&letter.id).await.unwrap_err();
    assert!(matches!(error, LetterError::Redacted { .. }), "{error}");
    let voucher = format!(r#""voucher":"{}""#, VOUCHERS[1]);
    let payload = edited(&after, &[(r#""voucher":"[redacted]""#, &voucher)]);
    let ran = letters
        .run_with(&letter.id, payload, "this one")
        .await
        .unwrap();
    assert_eq!(ran, RunOutcome::Done(().into()));
    let mut expected = arguments();
    expected.order.lines.remove(0);
    assert_eq!(shop.got.take(), [expected], "the card is the sealed one");
    shop.stores_no_secret();
}

#[derive(Clone, Serialize, Deserialize)]
struct Card {
    order_no: String,
    card_no: String,
    bank_is_up: bool,
}

#[idempotent(
    name = "sealing.one",
    key = "card.order_no",
    retries = 0,
    redact("card.card_no")
)]
async fn one(card: Card) -> Result<String, Oops> {
    if card.bank_is_up {
        Ok(card.card_no.chars().rev().collect())
    } else {
        Err(Oops::own("the bank is away"))
    }
}

fn backwards(text: &str) -> RunOutcome {
    RunOutcome::Done(text.chars().rev().collect::<String>().as_str().into())
}

fn card() -> Card {
    Card {
        order_no: "A-1".into(),
        card_no: CARD.into(),
        bank_is_up: false,
    }
}

#[tokio::test]
async fn an_only_argument_may_be_given_without_its_name() {
    for (given, expected) in [(REDACTED, CARD), (OTHER_CARD, OTHER_CARD)] {
        let shop = Shop::new();
        let idem = shop.open(Some(keys()));
        idem.register_handler("sealing.one", one);
        idem.scope(one(card())).await.unwrap_err();
        let (letters, id) = (idem.dead_letters(), only_letter(&idem).await.id);
        let alone = json!({ "order_no": "A-1", "card_no": given, "bank_is_up": true });
        let after = letters
            .edit(&id, alone, "as the queue has it")
            .await
            .unwrap();
        shop.shows_no_secret(&after);
        assert_eq!(after.missing().count(), 0);
        assert_eq!(letters.run(&id).await.unwrap(), backwards(expected));
    }
}

/// Publishes into a log.
fn publisher(idem: &Idem) -> Arc<Log<Vec<u8>>> {
    let log = Arc::new(Log::default());
    let published = Arc::clone(&log);
    idem.register_publisher("rabbitmq:cards", move |letter| {
        published.push(letter.message());
        async { Ok::<(), String>(()) }
    });
    log
}

fn origin() -> Origin {
    Origin::new("rabbitmq", "cards")
}

#[tokio::test]
async fn a_republished_message_is_whole() {
    let shop = Shop::new();
    let idem = shop.open(Some(keys()));
    let published = publisher(&idem);
    let delivered = idem.deliver(origin(), one(card())).await;
    delivered.output.unwrap_err();
    let letter = only_letter(&idem).await;
    shop.shows_no_secret(&letter);
    let after = idem.dead_letters().republish(&letter.id).await.unwrap();
    shop.shows_no_secret(&after);
    assert_eq!(published.take(), [serde_json::to_vec(&card()).unwrap()]);
}

#[tokio::test]
async fn a_message_that_no_handler_took_is_republished_as_it_came() {
    let in_json = format!(r#"{{ "order_no": "A-2", "cardNo": "{CARD}" }}"#).into_bytes();
    let in_text = format!("A-2;{CARD}").into_bytes();
    let in_bytes = [&[0xff], CARD.as_bytes()].concat();
    for bytes in [in_json, in_text, in_bytes] {
        let shop = Shop::new();
        let idem = shop.open(Some(keys()));
        let published = publisher(&idem);
        idem.redact_buried("cards", ["card.card_no"]);
        idem.bury("cards", "m-1", &bytes, origin(), "missing field")
            .await
            .unwrap();
        let letter = only_letter(&idem).await;
        shop.shows_no_secret(&letter);
        assert_eq!(letter.missing().count(), 0, "{letter:?}");
        idem.dead_letters().republish(&letter.id).await.unwrap();
        let [message] = &published.take()[..] else {
            panic!("one message")
        };
        // Spaces between the fields are not kept.
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
        assert_eq!(read(message), read(&bytes));
        assert!(read(message).is_some() || *message == bytes);
    }
}

#[idempotent(
    name = "sealing.before",
    key = "order_no",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "0ms"),
    redact(card_no)
)]
async fn before(order_no: String, card_no: String) -> Result<(), Oops> {
    Err(Oops::own(format!("not yet for {}", card_no.len())))
}

#[idempotent(
    name = "sealing.after",
    was = "sealing.before",
    key = "order_no",
    retries = 1,
    redact(card_no)
)]
async fn after(order_no: String, card_no: String) -> Result<String, Oops> {
    if order_no == card_no {
        Ok(order_no)
    } else {
        Err(Oops::own("no"))
    }
}

#[tokio::test]
async fn a_letter_of_a_renamed_handler_opens_with_the_same_key() {
    let shop = Shop::new();
    let idem = shop.open(Some(keys()));
    idem.scope(before(CARD.into(), OTHER_CARD.into()))
        .await
        .unwrap_err();
    idem.close().await.unwrap();
    let idem = shop.open(Some(keys()));
    idem.scope(after(CARD.into(), OTHER_CARD.into()))
        .await
        .unwrap_err();
    let letter = only_letter(&idem).await;
    assert_eq!(letter.handler, "sealing.before");
    let published = publisher(&idem);
    let error = idem.dead_letters().republish(&letter.id).await.unwrap_err();
    assert!(matches!(error, LetterError::NoPublisher { .. }), "{error}");
    assert_eq!(published.take(), Vec::<Vec<u8>>::new());
    #[derive(Deserialize)]
    struct After {
        order_no: String,
        card_no: String,
    }
    let got = Arc::new(Log::default());
    let seen = Arc::clone(&got);
    idem.register_handler("sealing.after", move |After { order_no, card_no }| {
        seen.push(card_no.clone());
        after(order_no, card_no)
    });
    idem.dead_letters().run(&letter.id).await.unwrap();
    assert_eq!(got.take(), [OTHER_CARD]);
}

#[derive(Serialize)]
struct Secret {
    x: u8,
}

#[idempotent(name = "sealing.many", key = "id", retries = 0, redact(secrets_in_a_list.x))]
async fn many(id: u32, secrets_in_a_list: &[Secret]) -> Result<u32, Oops> {
    Err(Oops::own(format!("no {id}")))
}

#[tokio::test]
async fn a_call_whose_sealed_parts_are_over_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Idem::builder().payload_limit(1000).seal(keys());
    let idem = builder.open(folder.path()).unwrap();
    let secrets = |count| (0..count).map(|_| Secret { x: 1 }).collect::<Vec<_>>();
    idem.scope(async {
        let error = many(1, &secrets(40)).await.unwrap_err().into_idem();
        assert!(
            matches!(error, Error::PayloadTooLarge { limit: 1000, .. }),
            "{error:?}"
        );
        many(2, &secrets(20)).await.unwrap_err().into_own();
    })
    .await;
    assert_eq!(only_letter(&idem).await.missing().count(), 0);
}

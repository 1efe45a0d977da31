//! Redacted values of a message that no handler can take are not stored, shown or logged.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use idem_brokers::testing::Queue;
use idem_brokers::{Consumer, KEY_HEADER, Message};
use idem_runtime::dead_letters::LetterError;
use idem_runtime::{
    DeadLetter, Error, Filter, Idem, dead_letters::REDACTED, idempotent, outbox::Keyed,
};
use idem_test_support::{DEADLINE, within};
use serde::{Deserialize, Serialize};

/// The spellings of a producer that does not know the type, and of the type itself.
const CARD: &str = "4111-7777-8888-9999";
const NUMBER: &str = "4111777788889999";

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    card_no: u64,
    buyer: Option<Buyer>,
    note: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Buyer {
    phone: String,
}

impl Keyed for Order {
    fn key(&self) -> String {
        self.order_no.clone()
    }
}

#[idempotent(
    name = "secrets.place",
    key = "order.order_no",
    retries = 0,
    redact("order.card_no", "order.buyer.phone")
)]
async fn place(order: Order) -> Result<usize, Error> {
    Ok(order.note.map_or(0, |note| note.len()))
}

fn open(folder: &Path) -> Idem {
    Idem::builder().payload_limit(2000).open(folder).unwrap()
}

/// Returns the letters that a consumer writes for these messages.
async fn letters_of(
    idem: &Idem,
    messages: impl IntoIterator<Item = Message>,
    consumer: impl FnOnce(Consumer<Queue, Order>) -> Consumer<Queue, Order>,
) -> Vec<DeadLetter> {
    let queue = Queue::new("orders");
    messages.into_iter().for_each(|message| queue.push(message));
    let consumer = consumer(Consumer::new(idem, queue.clone()).in_flight(1)).start(place);
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
    idem.dead_letters()
        .list(&Filter::default().limit(100))
        .await
        .unwrap()
}

fn message(bytes: impl Into<Vec<u8>>) -> Message {
    Message::new("orders", bytes)
}

fn good(order_no: &str) -> Message {
    message(format!(r#"{{"order_no":"{order_no}","card_no":{NUMBER}}}"#))
}

#[track_caller]
fn assert_no_secret(bytes: &[u8], of: &str) {
    for secret in [CARD, NUMBER, "4111-7777", "41117777"] {
        let there = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(
            !there,
            "{secret} is in {of}: {}",
            String::from_utf8_lossy(bytes)
        );
    }
}

/// Checks that no file and no letter, as the API and the export show it, contains a secret.
#[track_caller]
fn assert_stored_nowhere(folder: &Path, letters: &[DeadLetter]) {
    for letter in letters {
        assert_no_secret(&serde_json::to_vec(letter).unwrap(), "a letter");
        assert_no_secret(format!("{letter:?}").as_bytes(), "a letter's fields");
        assert_no_secret(&letter.message(), "what would be published");
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => assert_no_secret(&fs::read(&path).unwrap(), &path.display().to_string()),
            }
        }
    }
}

/// The log of this process.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(more)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Malformed messages of all kinds, each with the secret.
fn wrong() -> Vec<Message> {
    let long = "x".repeat(3000);
    let contradicts = good("A-2").header(KEY_HEADER, "A-3");
    let texts = [
        // The key of another message, and no key.
        format!(r#"{{"order_no":"A-1","card_no":{NUMBER},"note":"another"}}"#),
        format!(r#"{{"order_no":"","card_no":{NUMBER}}}"#),
        format!(r#"{{"order_no":"A-4","card_no":{NUMBER},"note":"{long}"}}"#),
        // A field that is missing, misspelt, repeated, of another type, or elsewhere.
        format!(r#"{{"card_no":{NUMBER}}}"#),
        format!(r#"{{"order_no":"A-5","cardNo":"{CARD}"}}"#),
        format!(r#"{{"order_no":"A-6","card_no":{NUMBER},"card_no":{NUMBER}}}"#),
        format!(r#"{{"order_no":"A-7","card_no":"{CARD}"}}"#),
        format!(r#"{{"order_no":"A-8","card_no":["{CARD}",{{"no":{NUMBER}}}]}}"#),
        format!(r#"{{"order_no":"A-9","card_no":1,"buyer":"{CARD}"}}"#),
        format!(r#"{{"order":{{"order_no":"A-10","card_no":{NUMBER}}}}}"#),
        format!(r#"["A-11",{NUMBER}]"#),
        format!(r#""{CARD}""#),
        NUMBER.to_owned(),
        // Not JSON.
        format!(r#"{{"order_no":"A-12","card_no":{NUMBER}"#),
        format!("A-13 {CARD}"),
    ];
    let binary = [b"\xff\x00", CARD.as_bytes()].concat();
    texts
        .into_iter()
        .map(message)
        .chain([contradicts, message(binary)])
        .collect()
}

#[tokio::test]
async fn redacted_values_of_malformed_messages_are_not_stored() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false);
    subscriber.with_writer(move || writer.clone()).init();
    let folder = tempfile::tempdir().unwrap();
    let idem = open(folder.path());
    let wrong = wrong();
    let expected = wrong.len();
    let letters = letters_of(
        &idem,
        [good("A-1")].into_iter().chain(wrong),
        Consumer::keyed,
    )
    .await;
    assert_eq!(letters.len(), expected, "{letters:#?}");
    assert_stored_nowhere(folder.path(), &letters);
    for letter in &letters {
        assert_eq!(letter.redacted, ["order.card_no", "order.buyer.phone"]);
        assert_eq!(letter.missing().count(), 2, "it is not whole: {letter:?}");
        let error = idem.dead_letters().republish(&letter.id).await.unwrap_err();
        assert!(matches!(error, LetterError::Redacted { .. }), "{error}");
    }
    let shown = |part: &str| {
        letters
            .iter()
            .filter(|letter| letter.payload.to_string().contains(part))
            .count()
    };
    assert_eq!(
        shown("A-"),
        9,
        "fields that are not redacted are kept if the bytes are JSON"
    );
    assert_eq!(shown(REDACTED), expected);
    let not_json = letters
        .iter()
        .filter(|letter| letter.payload.to_string().contains("blake3"));
    for letter in not_json.clone() {
        assert!(
            letter
                .last_error()
                .unwrap()
                .contains("only their length and hash are kept"),
            "{letter:?}"
        );
    }
    assert_eq!(not_json.count(), 3);
    let logged = logged.0.lock().unwrap().clone();
    assert!(
        String::from_utf8_lossy(&logged)
            .contains("a message that no handler can take was moved to the dead letters")
    );
    assert_no_secret(&logged, "the logs");
    idem.close().await.unwrap();
    assert_stored_nowhere(folder.path(), &[]);
}

#[tokio::test]
async fn a_new_process_knows_the_redactions_of_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let idem = open(folder.path());
    assert_eq!(
        letters_of(&idem, [good("A-1")], |consumer| consumer).await,
        []
    );
    idem.close().await.unwrap();
    // This process has called no handler yet.
    let idem = open(folder.path());
    let letters = letters_of(&idem, wrong().split_off(3), |consumer| consumer).await;
    assert!(!letters.is_empty());
    assert_stored_nowhere(folder.path(), &letters);
}

#[tokio::test]
async fn redactions_can_be_given_before_the_first_call() {
    let folder = tempfile::tempdir().unwrap();
    let idem = open(folder.path());
    let wrong = || wrong().split_off(3).into_iter();
    let letters = letters_of(&idem, wrong(), |consumer| {
        consumer.redact(["card_no", "buyer.phone"])
    })
    .await;
    assert!(letters.len() >= 12, "{}", letters.len());
    assert_stored_nowhere(folder.path(), &letters);

    let unsaid = idem_runtime::testing::temporary().unwrap();
    let letters = letters_of(&unsaid, wrong(), |consumer| consumer.name("unsaid")).await;
    let clear = letters
        .iter()
        .filter(|letter| letter.payload.to_string().contains(CARD))
        .count();
    assert!(
        clear > 0,
        "without `redact`, the first letter has the secret"
    );
}

#[tokio::test]
async fn bytes_that_are_not_json_are_kept_on_request() {
    let idem = idem_runtime::testing::temporary().unwrap();
    let text = || [message(format!("A-13 {CARD}"))];
    let keeps = |consumer: Consumer<Queue, Order>| consumer.redact(["card_no"]).keep_unreadable();
    let letter = letters_of(&idem, text(), keeps).await.remove(0);
    assert_eq!(
        (letter.message(), letter.missing().count()),
        (format!("A-13 {CARD}").into_bytes(), 0)
    );
}

#[idempotent(
    name = "secrets.charge",
    key = "order_no",
    retries = 0,
    redact(card_no)
)]
async fn charge(order_no: String, card_no: u64) -> Result<u64, Error> {
    Ok(card_no % 10)
}

#[idempotent(
    name = "secrets.whole",
    key = "tenant",
    retries = 0,
    redact(order),
    fingerprint = "off",
    skip(tenant)
)]
async fn whole(order: Order, tenant: &str) -> Result<u64, Error> {
    Ok(order.card_no % 10)
}

#[tokio::test]
async fn redactions_of_fields_and_of_the_whole_message_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let idem = open(folder.path());
    let (fields, all) = (Queue::new("fields"), Queue::new("all"));
    for queue in [&fields, &all] {
        queue.push(good("A-1"));
        queue.push(message(format!(
            r#"{{"order_no":"A-2","card_no":"{CARD}"}}"#
        )));
    }
    all.push(message(format!(r#"{{"order_no":"A-3","other":"{CARD}"}}"#)));
    let takes = |order: Order| charge(order.order_no, order.card_no);
    let consumers = [
        Consumer::new(&idem, fields.clone())
            .in_flight(1)
            .start(takes),
        Consumer::new(&idem, all.clone())
            .in_flight(1)
            .start(|order| whole(order, "shop")),
    ];
    for (queue, consumer) in [fields, all].into_iter().zip(consumers) {
        within(queue.until_empty()).await;
        within(consumer.stop(DEADLINE)).await;
    }
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(letters.len(), 3);
    assert_stored_nowhere(folder.path(), &letters);
    let shown = letters
        .iter()
        .filter(|letter| letter.payload.to_string().contains("A-2"))
        .count();
    assert_eq!(
        shown, 1,
        "a handler that redacts the whole message shows none of it"
    );
}

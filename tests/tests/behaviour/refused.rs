//! Messages that a handler refuses: their letters have the message's own key, a true reason, and
//! what people need.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::testing::{ManualClock, temporary, temporary_with};
use idem_runtime::{
    DeadLetter, DeadLetterId, Error, Filter, Idem, LetterState, Origin, Verdict,
    dead_letters::{Holder, Reason, RunOutcome},
    idempotent,
    issuer::KeyFormat,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::common::{Oops, only_letter, poll_once};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    qty: u32,
    wei: u128,
    card_no: Option<String>,
}

fn order(qty: u32) -> Order {
    let (order_no, card_no) = ("A-1".to_owned(), Some(format!("4111-{qty}")));
    Order {
        order_no,
        qty,
        wei: 20_000_000_000_000_000_000 + u128::from(qty),
        card_no,
    }
}

/// What it does is in the quantity.
#[idempotent(
    name = "refused.place",
    key = "order.order_no",
    retries = 1,
    retry = "redeliver",
    retry_if = again,
    redact("order.card_no"),
    backoff(initial = "1h", factor = 1, max = "1h")
)]
async fn place(order: Order) -> Result<u32, Oops> {
    match order.qty {
        1 => Ok(1),
        2 => Err(Oops::own("out of stock")),
        3 => std::future::pending().await,
        5 => Err(Oops::own("fails once")),
        other => Ok(other),
    }
}

fn again(error: &Oops) -> bool {
    error.to_string() != "out of stock"
}

fn origin() -> Origin {
    Origin::new("rabbitmq", "orders").message_id("m-7")
}

/// As a consumer does with a message that is refused.
async fn refused(idem: &Idem, order: Order) -> DeadLetterId {
    let bytes = serde_json::to_vec(&order).unwrap();
    let verdict = idem.deliver(origin(), place(order)).await.verdict;
    let Verdict::Refused(refusal) = verdict else {
        panic!("{verdict:?}")
    };
    idem.bury_refused(&refusal, "m-7", &bytes, origin())
        .await
        .unwrap()
}

async fn letter(idem: &Idem, id: DeadLetterId) -> DeadLetter {
    idem.dead_letters().get(&id).await.unwrap().unwrap()
}

/// Where the two differ, with what stands there.
fn differences(letter: &DeadLetter) -> Vec<(&str, Option<&str>, Option<&str>)> {
    let reused = letter.reused.as_ref().unwrap();
    let all = reused.differences.as_ref().unwrap().iter();
    all.map(|one| (&*one.path, one.theirs.as_deref(), one.ours.as_deref()))
        .collect()
}

const FROM_2_TO_4: [(&str, Option<&str>, Option<&str>); 2] = [
    ("order.qty", Some("2"), Some("4")),
    (
        "order.wei",
        Some("20000000000000000002"),
        Some("20000000000000000004"),
    ),
];

#[tokio::test]
async fn a_letter_of_a_key_used_again_is_found_by_the_key_and_tells_field_by_field_what_differs() {
    let idem = temporary().unwrap();
    assert!(
        idem.deliver(origin(), place(order(2)))
            .await
            .output
            .is_err()
    );
    let first = only_letter(&idem).await;
    let id = refused(&idem, order(4)).await;
    let found = idem
        .dead_letters()
        .list(&Filter::default().handler("refused.place").key("A-1"))
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(|letter| letter.id).collect::<Vec<_>>(),
        [id, first.id]
    );

    let letter = &found[0];
    assert_eq!(
        (letter.reason, letter.reason.to_string().as_str()),
        (Reason::KeyReused, "key reused")
    );
    assert_eq!(
        (&*letter.key, &*letter.handler, letter.attempts.len()),
        ("A-1", "refused.place", 0)
    );
    assert_eq!(
        letter.reused.as_ref().unwrap().by,
        Holder::Dead { letter: first.id }
    );
    // To the last digit, and without what is redacted.
    assert_eq!(differences(letter), FROM_2_TO_4);
    let error = letter.last_error().unwrap();
    assert!(
        error.contains("they differ in `order.qty`, `order.wei`"),
        "{error}"
    );
    assert!(
        !error.contains("decode") && !error.contains("20000000000000000004"),
        "{error}"
    );
    assert!(
        !format!("{:?}", letter.reused).contains("4111"),
        "{letter:?}"
    );

    // The message comes again: it is one letter; another content is another.
    assert_eq!(refused(&idem, order(4)).await, id);
    assert_ne!(refused(&idem, order(9)).await, id);
    // The key is its own message's still.
    let duplicate = idem
        .deliver(origin(), place(order(2)))
        .await
        .output
        .unwrap_err()
        .into_idem();
    assert!(
        matches!(duplicate, Error::DeadLettered { id, .. } if id == first.id),
        "{duplicate:?}"
    );
}

#[tokio::test]
async fn it_tells_what_became_of_the_message_that_has_the_key() {
    let idem = temporary().unwrap();
    // At work.
    let mut hangs = Box::pin(idem.deliver(origin(), place(order(3))));
    while !matches!(
        idem.record(&id()).await.unwrap(),
        Some(idem_runtime::protocol::Record::Live(_))
    ) {
        poll_once(hangs.as_mut()).await;
    }
    let running = letter(&idem, refused(&idem, order(4)).await).await;
    assert!(
        matches!(running.reused.as_ref().unwrap().by, Holder::Running { .. }),
        "{running:?}"
    );
    assert_eq!(
        differences(&running)[0],
        ("order.qty", Some("3"), Some("4"))
    );
    drop(hangs);

    for (first, holder) in [
        (1, "done since"),
        (5, "waiting for its next attempt"),
        (2, "discarded, as dead letter"),
    ] {
        let idem = temporary().unwrap();
        let _ = idem.deliver(origin(), place(order(first))).await.output;
        if first == 2 {
            let letter = only_letter(&idem).await;
            idem.dead_letters()
                .discard(&letter.id, "a test")
                .await
                .unwrap();
        }
        let letter = letter(&idem, refused(&idem, order(4)).await).await;
        let reused = letter.reused.as_ref().unwrap();
        assert!(reused.by.to_string().starts_with(holder), "{reused:?}");
        // Of one that is done only a hash is kept.
        assert_eq!(
            (reused.is_done(), reused.differences.is_none()),
            (first == 1, first == 1),
            "{reused:?}"
        );
    }
}

fn id() -> idem_runtime::protocol::RecordId {
    idem_runtime::protocol::RecordId::new("refused.place", "A-1")
}

#[tokio::test]
async fn a_letter_of_a_key_used_again_runs_under_a_key_of_its_own_and_not_under_the_other_s() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    idem.register_handler("refused.place", place);
    assert_eq!(
        idem.deliver(origin(), place(order(1)))
            .await
            .output
            .unwrap(),
        1
    );
    let id = refused(&idem, order(4)).await;
    idem.close().await.unwrap();
    drop(idem);
    let idem = Idem::open(folder.path()).unwrap();
    idem.register_handler("refused.place", place);
    let letters = idem.dead_letters().by("ann");
    // The same key, in whatever form: it is refused again, and waits for a person.
    let same = Order { wei: 4, ..order(4) };
    // With what is redacted, which no edit keeps.
    let ran = letters
        .run_with(&id, json!({ "order": &same }), "as it should be")
        .await
        .unwrap();
    assert!(
        matches!(&ran, RunOutcome::Failed { letter: Some(open), .. } if *open == id),
        "{ran:?}"
    );
    let own = Order {
        order_no: "A-2".into(),
        ..same
    };
    let ran = letters
        .run_with(&id, json!({ "order": own }), "a key of its own")
        .await
        .unwrap();
    assert_eq!(ran, RunOutcome::Done(4.into()));
    let closed = letter(&idem, id).await;
    assert_eq!(
        (closed.state, &*closed.key, closed.reason),
        (LetterState::Redriven, "A-1", Reason::KeyReused)
    );
    // The first one's result is what it was.
    assert_eq!(
        idem.deliver(origin(), place(order(1)))
            .await
            .output
            .unwrap(),
        1
    );

    let other = refused(&idem, order(9)).await;
    assert_eq!(
        letters
            .discard(&other, "a producer's mistake")
            .await
            .unwrap()
            .state,
        LetterState::Discarded
    );
    assert_eq!(
        letters.restore(&other, "it was none").await.unwrap().state,
        LetterState::Open
    );
}

/// Nobody comes after a publishing that a crash cut off: the letter that is written then is what
/// this one was.
#[tokio::test]
async fn a_letter_of_a_key_used_again_stays_one_when_nobody_brings_it_after_a_publishing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let open = || {
        Idem::builder()
            .clock(Arc::new(clock.clone()))
            .open(folder.path())
            .unwrap()
    };
    let idem = open();
    assert_eq!(
        idem.deliver(origin(), place(order(1)))
            .await
            .output
            .unwrap(),
        1
    );
    // What is redacted cannot be published.
    let without = Order {
        card_no: None,
        ..order(4)
    };
    let first = letter(&idem, refused(&idem, without).await).await;
    idem.register_publisher("rabbitmq:orders", |_| async {
        std::future::pending::<Result<(), String>>().await
    });
    let letters = idem.dead_letters();
    let mut publishing = Box::pin(letters.republish(&first.id));
    while letter(&idem, first.id).await.state == LetterState::Open {
        poll_once(publishing.as_mut()).await;
    }
    // As in a crash: nobody puts it back.
    std::mem::forget(publishing);
    clock.advance(Duration::from_secs(8 * 24 * 60 * 60));
    idem.sweep().await.unwrap();
    let again = only_letter(&idem).await;
    assert_ne!(again.id, first.id);
    assert_eq!(
        (&*again.key, again.reason, &again.record_key),
        ("A-1", Reason::KeyReused, &first.record_key)
    );
    assert_eq!((again.error, again.reused), (first.error, first.reused));
}

#[idempotent(name = "refused.issued", key = "id", issued = "order_no")]
async fn issued(id: String, text: String) -> Result<usize, Oops> {
    Ok(text.len())
}

#[tokio::test]
async fn every_refusal_has_its_own_key_and_says_refused_and_leaves_the_key_free() {
    let idem = temporary_with(Idem::builder().payload_limit(100)).unwrap();
    for (id, text, says) in [
        ("", "x".to_owned(), "the idempotency key is empty"),
        (
            "A-1",
            "x".to_owned(),
            "issuer `order_no` has not issued this key",
        ),
        (
            "A-1",
            "x".repeat(200),
            "the payload is over the limit of 100 bytes",
        ),
    ] {
        let bytes = text.clone().into_bytes();
        let verdict = idem
            .deliver(origin(), issued(id.into(), text))
            .await
            .verdict;
        let Verdict::Refused(refusal) = verdict else {
            panic!("{verdict:?}")
        };
        let buried = idem
            .bury_refused(&refusal, "m-7", &bytes, origin())
            .await
            .unwrap();
        let letter = letter(&idem, buried).await;
        assert_eq!(
            (letter.reason, letter.reason.to_string().as_str()),
            (Reason::Refused, "refused")
        );
        // Without a key the message's own id stands for it.
        assert_eq!(&*letter.key, if id.is_empty() { "m-7" } else { id });
        assert_eq!(
            (&*letter.handler, letter.reused.as_ref()),
            ("refused.issued", None)
        );
        assert!(letter.last_error().unwrap().contains(says), "{letter:?}");
    }
    let rule = KeyFormat::new().text("A-").sequence(1);
    assert_eq!(
        idem.issuer("order_no").format(rule).issue().await.unwrap(),
        "A-1"
    );
    assert_eq!(
        idem.deliver(origin(), issued("A-1".into(), "xy".into()))
            .await
            .output
            .unwrap(),
        2
    );
}

mod yesterday {
    #[idem_runtime::idempotent(name = "refused.send", key = "order_no")]
    pub(super) async fn send(order_no: String, qty: u32) -> Result<u32, idem_runtime::Error> {
        Ok(qty)
    }
}

mod today {
    #[idem_runtime::idempotent(name = "refused.ship", was = "refused.send", key = "order_no")]
    pub(super) async fn ship(order_no: String, qty: u32) -> Result<u32, idem_runtime::Error> {
        Ok(qty)
    }
}

#[tokio::test]
async fn a_key_that_was_used_under_the_handlers_old_name_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    assert_eq!(
        idem.scope(yesterday::send("A-1".into(), 2)).await.unwrap(),
        2
    );
    idem.close().await.unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    let verdict = idem
        .deliver(origin(), today::ship("A-1".into(), 3))
        .await
        .verdict;
    let Verdict::Refused(refusal) = verdict else {
        panic!("{verdict:?}")
    };
    let id = idem
        .bury_refused(&refusal, "m-8", b"[\"A-1\", 3]", origin())
        .await
        .unwrap();
    assert!(
        letter(&idem, id)
            .await
            .reused
            .is_some_and(|reused| reused.is_done())
    );
}

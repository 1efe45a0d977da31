//! Messages that no handler can take: their letters, what people do with them, and the way back to
//! the broker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idem_runtime::dead_letters::LetterError;
use idem_runtime::testing::{ManualClock, temporary, temporary_with};
use idem_runtime::{
    DeadLetterId, Error, Filter, Idem, LetterState, Origin, Verdict,
    dead_letters::{Reason, RunOutcome},
    idempotent,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::common::{Oops, on, only_letter, poll_once, soon};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn origin() -> Origin {
    Origin::new("rabbitmq", "orders").message_id("m-1")
}

async fn bury(idem: &Idem, key: &str, bytes: &[u8]) -> DeadLetterId {
    idem.bury(
        "burying.place",
        key,
        bytes,
        origin(),
        "expected value at line 1",
    )
    .await
    .unwrap()
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    qty: u32,
}

#[idempotent(name = "burying.place", key = "order_no", retries = 0)]
async fn place(order: Order) -> Result<u32, Oops> {
    if order.qty > 10 {
        Err(Oops::own("out of stock"))
    } else {
        Ok(order.qty * 100)
    }
}

#[tokio::test]
async fn a_buried_message_is_one_letter_with_its_bytes_and_what_is_wrong_with_them() {
    let idem = temporary().unwrap();
    let id = bury(&idem, "m-1", b"{\"order_no").await;
    for _ in 0..3 {
        assert_eq!(bury(&idem, "m-1", b"{\"order_no").await, id);
    }
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.id, &*letter.handler, &*letter.key),
        (id, "burying.place", "m-1")
    );
    assert_eq!(
        (letter.reason, letter.last_error()),
        (Reason::Undecodable, Some("expected value at line 1"))
    );
    assert_eq!(
        (letter.reason.to_string(), letter.attempts.len()),
        ("cannot be decoded".to_owned(), 0)
    );
    assert_eq!(
        (letter.payload.clone(), letter.message()),
        ("{\"order_no".into(), b"{\"order_no".to_vec())
    );
    assert_eq!((letter.origin, letter.cut_from), (Some(origin()), None));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_kept_too() {
    let idem = temporary().unwrap();
    let id = bury(&idem, "m-1", &[0xff, 0x00, 0x9f]).await;
    let letter = idem.dead_letters().get(&id).await.unwrap().unwrap();
    assert_eq!(
        (letter.payload.as_str(), letter.message()),
        (r#"{"base64":"/wCf"}"#, vec![0xff, 0x00, 0x9f])
    );
    let id = bury(&idem, "m-2", b"").await;
    assert_eq!(
        idem.dead_letters()
            .get(&id)
            .await
            .unwrap()
            .unwrap()
            .message(),
        b""
    );
}

#[tokio::test]
async fn of_a_message_too_large_the_beginning_is_kept() {
    let idem = temporary_with(Idem::builder().payload_limit(5)).unwrap();
    let letters = idem.dead_letters();
    let text = letters
        .get(&bury(&idem, "m-1", "ééé".as_bytes()).await)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (text.payload, text.cut_from),
        ("éé".into(), Some(6)),
        "no character is cut in two"
    );
    let binary = letters
        .get(&bury(&idem, "m-2", &[255; 9]).await)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((binary.message(), binary.cut_from), (vec![255; 5], Some(9)));
    let whole = letters
        .get(&bury(&idem, "m-3", b"12345").await)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(whole.cut_from, None);
    // Two that begin alike are two.
    assert_ne!(bury(&idem, "m-2", &[255; 10]).await, binary.id);
}

#[tokio::test]
async fn a_key_that_another_message_has_is_left_alone_and_the_message_is_buried_all_the_same() {
    let idem = temporary().unwrap();
    let order = || Order {
        order_no: "A-1".into(),
        qty: 2,
    };
    assert_eq!(idem.scope(place(order())).await.unwrap(), 200);
    let first = bury(&idem, "A-1", b"junk").await;
    let other = bury(&idem, "A-1", b"other junk").await;
    assert_ne!(first, other);
    assert_eq!(bury(&idem, "A-1", b"junk").await, first);
    assert_eq!(
        idem.scope(place(order())).await.unwrap(),
        200,
        "the result is still there"
    );
    let letter = idem.dead_letters().get(&first).await.unwrap().unwrap();
    assert!(letter.key.starts_with("A-1 "), "{}", letter.key);
    assert_eq!(idem.dead_letters().count_open().await.unwrap(), 2);
}

#[tokio::test]
async fn a_key_that_is_none_does_not_keep_a_message_from_being_buried() {
    let idem = temporary().unwrap();
    let long = "k".repeat(2000);
    let id = bury(&idem, "", b"junk").await;
    assert_eq!(
        bury(&idem, &long, b"junk").await,
        id,
        "a hash of the bytes stands for both"
    );
    let longest = "k".repeat(1020);
    let first = bury(&idem, &longest, b"junk").await;
    assert_eq!(
        idem.dead_letters().get(&first).await.unwrap().unwrap().key,
        longest
    );
    assert_ne!(bury(&idem, &longest, b"other junk").await, first);
}

#[tokio::test]
async fn a_closed_idem_buries_nothing() {
    let idem = temporary().unwrap();
    idem.close().await.unwrap();
    let error = idem
        .bury("burying.place", "m-1", b"junk", origin(), "")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_buried_letter_is_watched_and_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    let mut born = idem.dead_letters().watch();
    let id = bury(&idem, "m-1", &vec![255; 100_000]).await;
    let told = soon(futures_util::StreamExt::next(&mut born))
        .await
        .unwrap();
    assert_eq!(told.id, id);
    drop((born, idem));
    let idem = Idem::open(folder.path()).unwrap();
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.id, &letter.error, &letter.origin),
        (id, &told.error, &told.origin)
    );
    assert!(letter.message() == vec![255; 100_000]);
    assert_eq!(bury(&idem, "m-1", &vec![255; 100_000]).await, id);
}

#[tokio::test]
async fn redriven_it_is_buried_again_or_runs_with_a_mended_consumer_and_nobody_waits_for_it() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let letters = idem.dead_letters();
    let first = bury(&idem, "A-1", b"junk").await;
    assert_eq!(
        letters.redrive(&first).await.unwrap().state,
        LetterState::Redriven
    );
    clock.advance(30 * DAY);
    assert_eq!(idem.sweep().await.unwrap().dead_lettered, []);
    let second = bury(&idem, "A-1", b"junk").await;
    assert_ne!(first, second);
    letters.redrive(&second).await.unwrap();
    let order = Order {
        order_no: "A-1".into(),
        qty: 1,
    };
    assert_eq!(
        idem.deliver(origin(), place(order)).await.verdict,
        Verdict::Settled
    );
    assert_eq!(letters.count_open().await.unwrap(), 0);
}

#[tokio::test]
async fn discarded_it_stays_out_for_a_week_and_a_discard_can_be_undone() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let letters = idem.dead_letters();
    let id = bury(&idem, "m-1", b"junk").await;
    letters.discard(&id, "junk").await.unwrap();
    assert_eq!(bury(&idem, "m-1", b"junk").await, id);
    assert_eq!(letters.count_open().await.unwrap(), 0);
    assert_eq!(
        letters.restore(&id, "not junk").await.unwrap().state,
        LetterState::Open
    );
    assert_eq!(bury(&idem, "m-1", b"junk").await, id);
    letters.discard(&id, "junk after all").await.unwrap();
    clock.advance(7 * DAY);
    assert_ne!(bury(&idem, "m-1", b"junk").await, id);
}

#[tokio::test]
async fn mended_it_runs_under_the_key_that_it_has_then() {
    let idem = temporary().unwrap();
    idem.register_handler("burying.place", place);
    let letters = idem.dead_letters();
    for key in ["m-1", "A-1"] {
        let id = bury(&idem, key, b"{\"order_no\": \"A-1\"}").await;
        assert!(
            matches!(
                letters.run(&id).await,
                Err(LetterError::PayloadUnfit { .. })
            ),
            "it does not fit the handler"
        );
        assert_eq!(only_letter(&idem).await.id, id);
        let mended = json!({ "order": { "order_no": "A-1", "qty": 3 } });
        letters.edit(&id, mended, "the quantity").await.unwrap();
        // The second time the key has a result, so the message was buried beside it, and the run is
        // a replay.
        assert_eq!(
            letters.run(&id).await.unwrap(),
            RunOutcome::Done(300.into())
        );
        assert_eq!(
            letters.get(&id).await.unwrap().unwrap().state,
            LetterState::Redriven
        );
        assert_eq!(letters.count_open().await.unwrap(), 0);
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Close {
    account: String,
}

#[idempotent(name = "burying.close", key = "account", retries = 0)]
async fn close(close: Close) -> Result<String, Oops> {
    Ok(close.account)
}

#[tokio::test]
async fn what_no_handler_could_take_is_the_message_itself_or_its_argument_by_name() {
    let idem = temporary().unwrap();
    let (queue, letters) = (queue(&idem), idem.dead_letters());
    idem.register_handler("burying.close", close);
    let message = json!({ "account": "A-1" });
    for mended in [message.clone(), json!({ "close": message })] {
        let id = idem
            .bury("burying.close", "m-1", b"{\"account", origin(), "EOF")
            .await
            .unwrap();
        letters.edit(&id, mended, "cut off").await.unwrap();
        assert_eq!(
            letters.run(&id).await.unwrap(),
            RunOutcome::Done("A-1".into())
        );
    }
    let id = idem
        .bury("burying.close", "m-1", b"{\"account", origin(), "EOF")
        .await
        .unwrap();
    letters.edit(&id, message.clone(), "cut off").await.unwrap();
    letters.republish(&id).await.unwrap();
    assert_eq!(queue.take(), [message.to_string().into_bytes()]);
}

#[tokio::test]
async fn mended_under_its_own_key_it_runs_and_what_fails_stays_a_letter() {
    let idem = temporary().unwrap();
    idem.register_handler("burying.place", place);
    let letters = idem.dead_letters();
    let own = bury(&idem, "A-1", b"junk").await;
    letters
        .edit(
            &own,
            json!({ "order": { "order_no": "A-1", "qty": 3 } }),
            "",
        )
        .await
        .unwrap();
    assert_eq!(
        letters.run(&own).await.unwrap(),
        RunOutcome::Done(300.into())
    );
    assert_eq!(letters.count_open().await.unwrap(), 0);
    assert_eq!(
        idem.scope(place(Order {
            order_no: "A-1".into(),
            qty: 3
        }))
        .await
        .unwrap(),
        300
    );

    let other = bury(&idem, "m-2", b"junk").await;
    letters
        .edit(
            &other,
            json!({ "order": { "order_no": "A-2", "qty": 30 } }),
            "",
        )
        .await
        .unwrap();
    assert!(
        matches!(letters.run(&other).await.unwrap(), RunOutcome::Failed { letter: Some(open), .. } if open == other)
    );
    assert_eq!(
        letters.count_open().await.unwrap(),
        2,
        "of what was buried, and of what failed"
    );
}

/// A queue, and whether it takes anything.
struct Queue {
    taken: Mutex<Vec<Vec<u8>>>,
    works: AtomicBool,
}

fn queue(idem: &Idem) -> Arc<Queue> {
    let queue = Arc::new(Queue {
        taken: Mutex::default(),
        works: AtomicBool::new(true),
    });
    let to = Arc::clone(&queue);
    idem.register_publisher("rabbitmq:orders", move |letter| {
        let to = Arc::clone(&to);
        async move {
            if !to.works.load(Ordering::SeqCst) {
                return Err("connection refused");
            }
            to.taken.lock().unwrap().push(letter.message());
            Ok(())
        }
    });
    queue
}

impl Queue {
    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }
}

#[tokio::test]
async fn a_letter_goes_back_to_its_queue_and_its_message_runs_again() {
    let idem = temporary().unwrap();
    let (queue, letters) = (
        queue(&idem),
        idem.dead_letters().by("ann").why("there is stock again"),
    );
    let order = Order {
        order_no: "A-1".into(),
        qty: 12,
    };
    assert_eq!(
        idem.deliver(origin(), place(order)).await.verdict,
        Verdict::Settled
    );
    let id = only_letter(&idem).await.id;
    let mended = json!({ "order": { "order_no": "A-1", "qty": 2 } });
    letters.edit(&id, mended, "a typo").await.unwrap();
    let letter = letters.republish(&id).await.unwrap();
    assert_eq!(
        (letter.state, letter.closed_why.as_deref()),
        (LetterState::Redriven, Some("there is stock again"))
    );
    let [message] = &queue.take()[..] else {
        panic!("it was published once")
    };
    let order: Order = serde_json::from_slice(message).unwrap();
    let delivered = idem.deliver(origin(), place(order)).await;
    assert_eq!(
        (delivered.output.unwrap(), delivered.verdict),
        (200, Verdict::Settled)
    );
    assert!(matches!(
        letters.republish(&id).await,
        Err(LetterError::LetterClosed { .. })
    ));
}

#[tokio::test]
async fn what_cannot_be_published_stays_a_letter() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let (queue, letters) = (queue(&idem), idem.dead_letters());
    idem.deliver(
        origin(),
        place(Order {
            order_no: "A-1".into(),
            qty: 12,
        }),
    )
    .await
    .output
    .unwrap_err();
    let dead = only_letter(&idem).await.id;
    let buried = bury(&idem, "m-1", b"junk").await;
    queue.works.store(false, Ordering::SeqCst);
    for id in [dead, buried] {
        let error = letters.republish(&id).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("to rabbitmq:orders, and stays open: connection refused"),
            "{error}"
        );
        let letter = letters.get(&id).await.unwrap().unwrap();
        assert_eq!(letter.state, LetterState::Open);
        let last = letter.history.last().unwrap();
        assert_eq!(last.kind.as_str(), "restored");
        assert_eq!(
            last.by.why.as_deref(),
            Some("it could not be published: connection refused")
        );
    }
    // Both are what they were.
    assert_eq!(bury(&idem, "m-1", b"junk").await, buried);
    let again = idem
        .deliver(
            origin(),
            place(Order {
                order_no: "A-1".into(),
                qty: 12,
            }),
        )
        .await;
    assert!(
        matches!(again.output.unwrap_err().into_idem(), Error::DeadLettered { id, .. } if id == dead)
    );
    queue.works.store(true, Ordering::SeqCst);
    letters.republish(&buried).await.unwrap();
    assert_eq!(queue.take(), [b"junk"]);
    // Nobody waits for what was buried.
    clock.advance(30 * DAY);
    idem.sweep().await.unwrap();
    assert_eq!(only_letter(&idem).await.id, dead);
}

#[tokio::test]
async fn a_publisher_that_is_given_up_leaves_an_open_letter() {
    let idem = temporary().unwrap();
    let letters = idem.dead_letters();
    idem.register_publisher("rabbitmq:orders", |_| {
        std::future::pending::<Result<(), String>>()
    });
    let id = bury(&idem, "m-1", b"junk").await;
    let mut publishing = Box::pin(letters.republish(&id));
    while letters.count_open().await.unwrap() > 0 {
        assert!(poll_once(publishing.as_mut()).await.is_none());
        tokio::task::yield_now().await;
    }
    drop(publishing);
    let opened = async {
        while letters.count_open().await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(opened).await;
    assert_eq!(only_letter(&idem).await.id, id);
    assert_eq!(bury(&idem, "m-1", b"junk").await, id);
}

#[tokio::test]
async fn a_message_that_comes_before_its_publisher_fails_is_in_work_and_no_letter_is_opened_again()
{
    let idem = temporary().unwrap();
    idem.deliver(
        origin(),
        place(Order {
            order_no: "A-1".into(),
            qty: 12,
        }),
    )
    .await
    .output
    .unwrap_err();
    let id = only_letter(&idem).await.id;
    let consumer = Idem::clone(&idem);
    idem.register_publisher("rabbitmq:orders", move |_| {
        let consumer = consumer.clone();
        async move {
            // The broker took it, brought it, and the confirm was lost.
            consumer
                .scope(place(Order {
                    order_no: "A-1".into(),
                    qty: 1,
                }))
                .await
                .map_err(|error| error.to_string())?;
            Err::<(), _>("no confirm".to_owned())
        }
    });
    let error = idem.dead_letters().republish(&id).await.unwrap_err();
    assert!(matches!(error, LetterError::NotPublished { .. }), "{error}");
    assert_eq!(idem.dead_letters().count_open().await.unwrap(), 0);
    assert_eq!(
        idem.scope(place(Order {
            order_no: "A-1".into(),
            qty: 1
        }))
        .await
        .unwrap(),
        100
    );
}

#[tokio::test]
async fn what_is_not_whole_or_has_no_way_back_is_not_published() {
    let idem = temporary_with(Idem::builder().payload_limit(60)).unwrap();
    let letters = idem.dead_letters();
    let cut = bury(&idem, "m-1", &[b'x'; 100]).await;
    let error = letters.republish(&cut).await.unwrap_err();
    assert!(
        matches!(error, LetterError::Incomplete { size: 100, .. }),
        "{error}"
    );
    // Its beginning may fit a handler all the same.
    idem.register_handler("burying.place", |_: String| async { Ok::<_, Oops>(1) });
    let error = letters.run(&cut).await.unwrap_err();
    assert!(
        matches!(error, LetterError::Incomplete { size: 100, .. }),
        "{error}"
    );
    letters
        .edit(&cut, "short", "the beginning will do")
        .await
        .unwrap();
    let error = letters.republish(&cut).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("idem.register_publisher(\"rabbitmq:orders\", …)"),
        "{error}"
    );
    assert!(!idem.can_republish("rabbitmq:orders"));
    let queue = queue(&idem);
    assert!(idem.can_republish("rabbitmq:orders"));
    letters.republish(&cut).await.unwrap();
    assert_eq!(queue.take(), [b"short"]);
    idem.scope(place(Order {
        order_no: "A-1".into(),
        qty: 12,
    }))
    .await
    .unwrap_err();
    let letter = only_letter(&idem).await;
    let error = letters.republish(&letter.id).await.unwrap_err();
    assert!(
        matches!(error, LetterError::NoPublisher { place: None, .. }),
        "{error}"
    );
    assert_eq!(letters.list(&Filter::default()).await.unwrap(), [letter]);
}

#[idempotent(
    name = "burying.charge",
    key = "order_no",
    retries = 0,
    redact(card_no)
)]
async fn charge(order_no: &str, card_no: &str) -> Result<(), Oops> {
    Err(Oops::own("declined"))
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Payment {
    order_no: String,
    card_no: String,
}

#[idempotent(
    name = "burying.pay",
    key = "payment.order_no",
    retries = 0,
    redact("payment.card_no")
)]
async fn pay(payment: Payment) -> Result<usize, Oops> {
    Ok(payment.card_no.len())
}

const CARD: &str = "4111-7777-8888-9999";

fn payment(order_no: &str) -> Payment {
    Payment {
        order_no: order_no.into(),
        card_no: CARD.into(),
    }
}

#[tokio::test]
async fn what_a_consumer_of_ones_own_buries_is_without_what_its_handlers_redact() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    // The key is refused, so the call that this name's messages reach is known by the refusal
    // itself.
    let refused = idem.deliver(origin(), pay(payment(""))).await;
    let Verdict::Refused(refusal) = refused.verdict else {
        panic!("{refused:?}")
    };
    let bytes = serde_json::to_vec(&payment("")).unwrap();
    let refused = idem
        .bury("payments", "m-1", &bytes, origin(), &refusal.error)
        .await
        .unwrap();
    idem.close().await.unwrap();
    // Neither the name nor this process has anything to do with the handler; the place has.
    let idem = Idem::open(folder.path()).unwrap();
    let sync = idem
        .bury(
            "other",
            "m-2",
            format!("{{\"card_no\":\"{CARD}\"}}").as_bytes(),
            origin(),
            "",
        )
        .await
        .unwrap();
    let elsewhere = Origin::new("rabbitmq", "elsewhere");
    let clear = idem
        .bury("other", "m-3", CARD.as_bytes(), elsewhere.clone(), "")
        .await
        .unwrap();
    // Once this process has called the handler, its name is enough.
    idem.scope(pay(payment("A-1"))).await.unwrap();
    let named = idem
        .bury("burying.pay", "m-4", &bytes, elsewhere, "")
        .await
        .unwrap();
    for (id, hidden) in [(refused, true), (sync, true), (clear, false), (named, true)] {
        let letter = idem.dead_letters().get(&id).await.unwrap().unwrap();
        assert_eq!(
            serde_json::to_string(&letter).unwrap().contains(CARD),
            !hidden,
            "{letter:?}"
        );
        assert_eq!(letter.missing().count(), usize::from(hidden));
    }
}

#[tokio::test]
async fn a_sync_delivery_teaches_what_is_redacted_too() {
    let idem = temporary().unwrap();
    let delivered = idem.sync_deliver(origin(), || pollster::block_on(pay(payment("A-1"))));
    assert_eq!(delivered.verdict, Verdict::Settled);
    let id = idem
        .bury("other", "m-1", CARD.as_bytes(), origin(), "no JSON")
        .await
        .unwrap();
    let letter = idem.dead_letters().get(&id).await.unwrap().unwrap();
    assert!(!format!("{letter:?}").contains(CARD), "{letter:?}");
}

#[tokio::test]
async fn a_buried_letter_is_mended_and_run_with_what_is_stored_nowhere() {
    let idem = temporary().unwrap();
    idem.redact_buried("burying.pay", ["payment.card_no"]);
    idem.register_handler("burying.pay", pay);
    let letters = idem.dead_letters();
    for (number, bytes) in [
        "{\"order_no\":1,\"cardNo\":\"4111-7777-8888-9999\"}",
        "4111-7777-8888-9999",
    ]
    .iter()
    .enumerate()
    {
        let id = idem
            .bury(
                "burying.pay",
                &format!("m-{number}"),
                bytes.as_bytes(),
                origin(),
                "",
            )
            .await
            .unwrap();
        assert!(matches!(
            letters.run(&id).await,
            Err(LetterError::Redacted { .. })
        ));
        let mended = payment(&format!("A-{number}"));
        let whole = [
            json!(&mended),
            json!(serde_json::to_string(&mended).unwrap()),
            json!(format!("no JSON {CARD}")),
        ];
        for payload in whole {
            letters.edit(&id, payload, "the number").await.unwrap();
            assert!(
                matches!(letters.run(&id).await, Err(LetterError::Redacted { .. })),
                "its card is not stored"
            );
            assert!(matches!(
                letters.republish(&id).await,
                Err(LetterError::Redacted { .. })
            ));
        }
        assert_eq!(
            letters
                .run_with(&id, json!(mended), "from the shop")
                .await
                .unwrap(),
            RunOutcome::Done(CARD.len().into())
        );
        let letter = letters.get(&id).await.unwrap().unwrap();
        assert_eq!(
            (letter.state, letter.history.len()),
            (LetterState::Redriven, 5)
        );
        assert!(!format!("{letter:?}").contains(CARD), "{letter:?}");
    }
}

#[tokio::test]
async fn a_letter_with_redacted_parts_is_not_published() {
    let idem = temporary().unwrap();
    let queue = queue(&idem);
    idem.deliver(origin(), charge("A-1", "4111"))
        .await
        .output
        .unwrap_err();
    let letter = only_letter(&idem).await;
    let error = idem.dead_letters().republish(&letter.id).await.unwrap_err();
    assert!(
        matches!(&error, LetterError::Redacted { missing, .. } if *missing == ["card_no"]),
        "{error}"
    );
    assert_eq!((queue.take().len(), only_letter(&idem).await), (0, letter));
}

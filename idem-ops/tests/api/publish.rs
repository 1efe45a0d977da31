//! Letters whose messages go back to the broker that they came from.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idem_ops::Auth;
use idem_ops::service::{
    AuditAction, AuditPage, BulkJob, BulkState, LetterPage, LetterView, Outcome, Redriven,
};
use idem_runtime::ledger::NoteChange;
use idem_runtime::testing::ManualClock;
use idem_runtime::{
    DeadLetterId, Filter, Idem, LetterState, Origin, Verdict,
    dead_letters::{Actor, Reason},
    idempotent,
};
use serde_json::json;

use crate::common::within;
use crate::place::{OrderError, Place, PlaceOrder, place_order};

/// The messages that a broker received.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<Vec<Vec<u8>>>>);

impl Queue {
    fn new(idem: &Idem) -> Self {
        let queue = Self::default();
        let to = queue.clone();
        idem.register_publisher("rabbitmq:orders", move |letter| {
            let to = to.clone();
            async move {
                to.0.lock().unwrap().push(letter.message());
                Ok::<(), String>(())
            }
        });
        queue
    }

    fn orders(&self) -> Vec<PlaceOrder> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|message| serde_json::from_slice(message).unwrap())
            .collect()
    }
}

fn origin(number: usize) -> Origin {
    Origin::new("rabbitmq", "orders")
        .message_id(format!("m-{number}"))
        .header("trace", "00-4bf9")
}

/// Delivers an order from the broker.
async fn deliver(place: &Place, order: PlaceOrder) -> Result<u32, ()> {
    let delivered = place
        .idem
        .deliver(origin(1), place_order(order, Arc::clone(&place.shelf)))
        .await;
    assert_eq!(delivered.verdict, Verdict::Settled);
    delivered.output.map_err(drop)
}

async fn dead(place: &Place, order_no: &str) -> DeadLetterId {
    let order = PlaceOrder {
        order_no: order_no.to_owned(),
        qty: 11,
        phone: String::new(),
    };
    assert_eq!(deliver(place, order).await, Err(()));
    place.letter_of(order_no).await
}

async fn state(place: &Place, id: DeadLetterId) -> LetterState {
    place
        .idem
        .dead_letters()
        .get(&id)
        .await
        .unwrap()
        .unwrap()
        .state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_published_once_and_runs_when_it_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    let queue = Queue::new(&place.idem);
    let id = dead(&place, "A-1").await;
    let at = |act: &str| format!("/api/v1/letters/{id}{act}");
    let mended =
        json!({ "payload": { "order": { "order_no": "A-1", "qty": 3 } }, "why": "a typo" });
    let view: LetterView = place.post(&at("/edit"), mended).await.json();
    assert!(
        view.can_publish && view.why_not_publish.is_none(),
        "{view:?}"
    );
    let page: LetterPage = place.get("/api/v1/letters").await.json();
    assert!(page.letters[0].can_publish);
    place
        .post(&at("/publish"), json!({ "why": " " }))
        .await
        .problem(400, "invalid");
    place
        .post(&at("/publish"), json!({ "why": "x", "run": true }))
        .await
        .problem(400, "invalid");

    let sent: Redriven = place
        .post(&at("/publish"), json!({ "why": "mended" }))
        .await
        .json();
    assert_eq!(
        (sent.ran, sent.letter.letter.state),
        (None, LetterState::Redriven)
    );
    let by = Actor {
        who: Some("ann".to_owned()),
        why: Some("mended".to_owned()),
    };
    assert_eq!(sent.letter.letter.history.last().unwrap().by, by);
    let problem = place
        .post(&at("/publish"), json!({ "why": "again" }))
        .await
        .problem(409, "letter_closed");
    assert!(problem.detail.contains("redriven"), "{problem:?}");
    let view: LetterView = place.get(&at("")).await.json();
    assert!(!view.can_publish && view.why_not_publish.unwrap().contains("has been redriven"));

    let [order] = &queue.orders()[..] else {
        panic!("it was published once: {:?}", queue.orders())
    };
    assert_eq!(deliver(&place, order.clone()).await, Ok(300));
    assert_eq!(place.shelf.lock().unwrap()["A-1"], 1);
    let audit: AuditPage = place.get("/api/v1/audit").await.json();
    let [again, sent, _edit] = &audit.entries[..] else {
        panic!("{audit:?}")
    };
    assert_eq!(
        (sent.what, sent.who.as_str(), sent.why.as_deref()),
        (AuditAction::Publish, "ann", Some("mended"))
    );
    assert_eq!((&sent.outcome, sent.letter), (&Outcome::Done, Some(id)));
    assert!(
        matches!(&again.outcome, Outcome::Refused(why) if why.contains("redriven")),
        "{again:?}"
    );
    assert!(serde_json::to_value(sent).unwrap()["what"] == "publish");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_publisher_leaves_the_letter_open_and_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    let id = dead(&place, "A-1").await;
    let path = format!("/api/v1/letters/{id}/publish");
    place.idem.register_publisher("rabbitmq:orders", async |_| {
        Err::<(), _>("no route to the queue")
    });
    let refused = place
        .post(&path, json!({ "why": "x" }))
        .await
        .problem(503, "not_published");
    assert!(
        refused
            .detail
            .contains("to rabbitmq:orders, and stays open: no route to the queue"),
        "{refused:?}"
    );
    place
        .idem
        .register_publisher("rabbitmq:orders", async |letter| -> Result<(), String> {
            panic!("no {}", letter.key)
        });
    let panicked = place
        .post(&path, json!({ "why": "x" }))
        .await
        .problem(503, "not_published");
    assert!(
        panicked.detail.contains("its publisher panicked: no A-1"),
        "{panicked:?}"
    );

    let view: LetterView = place.get(&format!("/api/v1/letters/{id}")).await.json();
    assert_eq!(
        (view.letter.state, view.can_publish),
        (LetterState::Open, true)
    );
    let did: Vec<_> = view
        .letter
        .history
        .iter()
        .map(|act| act.kind.as_str())
        .collect();
    assert_eq!(did, ["redriven", "restored", "redriven", "restored"]);
    let page: LetterPage = place.get("/api/v1/letters").await.json();
    assert_eq!(
        page.letters.iter().map(|line| line.id).collect::<Vec<_>>(),
        [id]
    );
    let audit: AuditPage = place.get("/api/v1/audit").await.json();
    let told: Vec<_> = audit
        .entries
        .iter()
        .map(|entry| (entry.what, entry.outcome.clone()))
        .collect();
    let refusal = |problem: &str| (AuditAction::Publish, Outcome::Refused(problem.to_owned()));
    assert_eq!(told, [refusal(&panicked.detail), refusal(&refused.detail)]);
}

#[idempotent(name = "orders.charge", key = "order_no", retries = 0, redact(card_no))]
async fn charge(order_no: String, card_no: String) -> Result<(), OrderError> {
    Err(OrderError::OutOfStock(order_no + &card_no, 0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_cannot_be_published_says_why_and_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::builder()
        .payload_limit(60)
        .open(folder.path())
        .unwrap();
    let place = Place::new(
        idem,
        Auth::token("ann's own token").with_token("ann", crate::place::TOKEN),
    )
    .await;
    let nowhere = dead(&place, "A-1").await;
    let charged = place
        .idem
        .deliver(
            Origin::new("nats", "charges"),
            charge("C-1".into(), "4111".into()),
        )
        .await;
    assert!(charged.output.is_err());
    let redacted = place.letter_of("C-1").await;
    assert!(place.order("A-2", 11).await.is_err());
    let called = place.letter_of("A-2").await;
    let from = Origin::new("nats", "orders");
    let cut = place
        .idem
        .bury(
            "orders.place",
            "m-1",
            &[b'x'; 100],
            from,
            "expected a value",
        )
        .await
        .unwrap();
    for from in ["nats:charges", "nats:orders"] {
        place
            .idem
            .register_publisher(from, async |_| Ok::<(), String>(()));
    }
    for (id, why) in [
        (nowhere, "idem.register_publisher(\"rabbitmq:orders\", …)"),
        (called, "no broker brought it"),
        (redacted, "`card_no` is filled in"),
        (
            cut,
            "only the beginning of its message, which has 100 bytes",
        ),
    ] {
        let view: LetterView = place.get(&format!("/api/v1/letters/{id}")).await.json();
        assert!(
            !view.can_publish && view.why_not_publish.as_ref().unwrap().contains(why),
            "{view:?}"
        );
        let path = format!("/api/v1/letters/{id}/publish");
        let problem = place
            .post(&path, json!({ "why": "x" }))
            .await
            .problem(409, "cannot_publish");
        assert!(
            problem.detail.contains(why) && problem.detail.contains("cannot be published"),
            "{problem:?}"
        );
        let letter = place.idem.dead_letters().get(&id).await.unwrap().unwrap();
        assert!(
            letter.state == LetterState::Open && letter.history.is_empty(),
            "{letter:?}"
        );
    }
    // A buried message may be any text; one that a handler took is its arguments.
    let text = json!({ "payload": "all of it", "why": "the rest was in the log" });
    place
        .post(&format!("/api/v1/letters/{called}/edit"), text.clone())
        .await
        .problem(400, "invalid");
    let view: LetterView = place
        .post(&format!("/api/v1/letters/{cut}/edit"), text)
        .await
        .json();
    assert_eq!(
        (view.letter.reason, view.can_publish),
        (Reason::Undecodable, true)
    );
    let sent: Redriven = place
        .post(
            &format!("/api/v1/letters/{cut}/publish"),
            json!({ "why": "x" }),
        )
        .await
        .json();
    assert_eq!(sent.letter.letter.message(), b"all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_letters_are_published_once_each_at_a_rate_and_the_others_are_named() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let place = Place::open_at(folder.path(), &clock).await;
    let queue = Queue::new(&place.idem);
    for number in 0..20 {
        dead(&place, &format!("A-{number}")).await;
    }
    assert!(place.order("B-1", 11).await.is_err());
    let called = place.letter_of("B-1").await;
    let asked = json!({ "selection": { "filter": {} }, "deed": "publish", "rate": 10, "why": "the bank is back" });
    let bulk: BulkJob = place.post("/api/v1/bulk", asked).await.json();
    assert_eq!((bulk.total, bulk.who.as_str()), (21, "ann"));
    for turn in 1..=21 {
        place
            .bulk_until(bulk.id, |bulk| bulk.done + bulk.failed == turn)
            .await;
        for _ in 0..10 {
            // The ticker, the rules, the worker and its lease finish what a step wakes before the next step.
            within(clock.asleep(4)).await;
            clock.advance(Duration::from_millis(10));
            place.bulk(bulk.id).await;
        }
    }
    let end = place
        .bulk_until(bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert_eq!((end.done, end.failed, end.skipped), (20, 1, 0), "{end:?}");
    assert_eq!((end.problems.len(), end.problems[0].letter), (1, called));
    assert!(
        end.problems[0].error.contains("no broker brought it"),
        "{end:?}"
    );

    let mut sent = BTreeMap::<_, u32>::new();
    queue
        .orders()
        .into_iter()
        .for_each(|order| *sent.entry(order.order_no).or_default() += 1);
    assert!(
        sent.len() == 20 && sent.values().all(|times| *times == 1),
        "{sent:?}"
    );
    let letters = place
        .idem
        .dead_letters()
        .list(&Filter::default().any_state())
        .await
        .unwrap();
    let by = Actor {
        who: Some("ann".to_owned()),
        why: Some("the bank is back".to_owned()),
    };
    let closed: Vec<_> = letters
        .iter()
        .filter(|letter| letter.state == LetterState::Redriven)
        .collect();
    assert!(
        closed.len() == 20
            && closed
                .iter()
                .all(|letter| letter.history.last().unwrap().by == by)
    );
    // Newest first; the first batch had the one that no broker brought.
    let after = closed.iter().map(|letter| {
        letter
            .closed_at
            .unwrap()
            .duration_since(bulk.at)
            .as_millis()
    });
    assert_eq!(
        after.collect::<Vec<_>>(),
        (1..=20).map(|turn| turn * 100).collect::<Vec<_>>()
    );
    let audit: AuditPage = place.get("/api/v1/audit").await.json();
    let done = |deed| {
        audit
            .entries
            .iter()
            .filter(|e| e.what == deed && e.outcome == Outcome::Done)
            .count()
    };
    assert_eq!(
        (done(AuditAction::Publish), done(AuditAction::StartRedrive)),
        (20, 1)
    );
}

/// Publishing five letters, as a kill after the first batch leaves it. The batch of the other four
/// is stored: one was published and delivered, one was re-armed, one was not reached, and one could
/// not be published and has been re-armed by another person since.
async fn cut_off(folder: &Path) -> (BulkJob, Vec<DeadLetterId>) {
    let place = Place::open(folder).await;
    Queue::new(&place.idem);
    for number in 1..=5 {
        dead(&place, &format!("A-{number}")).await;
    }
    let asked =
        json!({ "selection": { "filter": {} }, "deed": "publish", "rate": 0.01, "why": "x" });
    let bulk: BulkJob = place.post("/api/v1/bulk", asked).await.json();
    place.bulk_until(bulk.id, |bulk| bulk.done == 1).await;
    place.stop().await;

    let idem = Idem::open(folder).unwrap();
    Queue::new(&idem);
    let letters = idem.dead_letters().by("ann").why("x");
    let open: Vec<_> = letters
        .list(&Filter::default())
        .await
        .unwrap()
        .into_iter()
        .map(|letter| letter.id)
        .collect();
    let come = letters.republish(&open[0]).await.unwrap();
    let order = PlaceOrder {
        order_no: come.key,
        qty: 1,
        phone: String::new(),
    };
    idem.scope(place_order(order, Arc::default()))
        .await
        .unwrap();
    letters.redrive(&open[1]).await.unwrap();
    idem.register_publisher("rabbitmq:orders", async |_| {
        Err::<(), _>("no route to the queue")
    });
    letters.republish(&open[3]).await.unwrap_err();
    idem.dead_letters()
        .by("bob")
        .redrive(&open[3])
        .await
        .unwrap();
    let key = format!("bulk/{}", bulk.id);
    let mut job: serde_json::Value =
        serde_json::from_slice(&idem.notes().get(&key).await.unwrap().unwrap()).unwrap();
    job["turn"] = open
        .iter()
        .map(|letter| json!([letter, uuid::Uuid::nil()]))
        .collect();
    job["cursor"] = json!(open[3]);
    job["bulk"]["asked"]["rate"] = json!(1000.0);
    idem.notes()
        .write(vec![NoteChange::put(key, job.to_string())])
        .await
        .unwrap();
    idem.close().await.unwrap();
    (bulk, open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_re_arming_and_publishing_is_reported_and_open_letters_are_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let (bulk, open) = cut_off(folder.path()).await;
    let idem = Idem::open(folder.path()).unwrap();
    // Before the dashboard starts, which continues it.
    let queue = Queue::new(&idem);
    let place = Place::new(
        idem,
        Auth::token("ann's own token").with_token("ann", crate::place::TOKEN),
    )
    .await;
    let end = place
        .bulk_until(bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert_eq!((end.done, end.failed, end.skipped), (3, 0, 2), "{end:?}");
    assert_eq!((end.problems.len(), end.problems[0].letter), (1, open[1]));
    assert!(
        end.problems[0]
            .error
            .contains("while it was being published"),
        "{end:?}"
    );
    assert_eq!(queue.orders().len(), 1);
    for id in open {
        assert_eq!(state(&place, id).await, LetterState::Redriven);
    }
}

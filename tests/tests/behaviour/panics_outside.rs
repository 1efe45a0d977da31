//! What idem runs of the user's code outside of an attempt may panic too: the message is told
//! apart, and comes to an end.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use idem_runtime::testing::temporary;
use idem_runtime::{
    Delivered, Error, Filter, Idem, Origin, Verdict,
    dead_letters::{AttemptOutcome, Reason},
    idempotent,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common::{Body, Oops, only_letter};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    lines: Vec<String>,
}

fn order() -> Order {
    Order {
        order_no: "A-1".to_owned(),
        lines: Vec::new(),
    }
}

/// Panics where it is told to: in its `Display`, and in its `Serialize` from so many on.
#[derive(Debug)]
struct Bad {
    shown: bool,
    written: AtomicU32,
}

impl Bad {
    fn shown() -> Self {
        Self {
            shown: false,
            written: AtomicU32::new(u32::MAX),
        }
    }

    fn written(times: u32) -> Self {
        Self {
            shown: true,
            written: AtomicU32::new(times),
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(self.shown, "no form to show");
        f.write_str("bad")
    }
}

impl Serialize for Bad {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        assert!(self.written.fetch_sub(1, SeqCst) > 0, "no form to write");
        to.serialize_str("written")
    }
}

#[idempotent(name = "outside.key", key = order.lines[0].clone(), skip(body))]
async fn of_first_line(order: Order, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[idempotent(name = "outside.now", key("order_no", order.lines[0]), skip(body))]
fn of_first_line_now(order: &Order, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[idempotent(name = "outside.part", key = "id, part", skip(body))]
async fn of_part(id: u32, part: &Bad, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[idempotent(
    name = "outside.fingerprint",
    key = "id",
    fingerprint(part),
    skip(body)
)]
async fn chosen(id: u32, part: &Bad, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

fn of_tenant(tenant: u32) -> Idem {
    panic!("no tenant {tenant}")
}

#[idempotent(name = "outside.runtime", key = "tenant", runtime = of_tenant(tenant), skip(body))]
async fn of_its_tenant(tenant: u32, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

/// It will never be right, nothing ran, and nothing is recorded.
#[track_caller]
fn assert_refused(delivered: Delivered<Result<u32, Error>>, said: &str) {
    let error = delivered.output.unwrap_err().to_string();
    assert!(
        error.contains("panicked") && error.contains(said),
        "{error}"
    );
    let Verdict::Refused(refusal) = delivered.verdict else {
        panic!("{:?}", delivered.verdict)
    };
    assert_eq!(refusal.error, error);
}

#[tokio::test]
async fn what_panics_while_a_message_is_read_refuses_the_message() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let from = || Origin::new("test", "orders");
    let no_line = "index out of bounds";
    assert_refused(
        idem.deliver(from(), of_first_line(order(), &body)).await,
        no_line,
    );
    assert_refused(
        idem.sync_deliver(from(), || of_first_line_now(&order(), &body)),
        no_line,
    );
    assert_refused(
        idem.deliver(from(), of_part(1, &Bad::shown(), &body)).await,
        "no form to show",
    );
    assert_refused(
        idem.deliver(from(), of_part(1, &Bad::written(0), &body))
            .await,
        "no form to write",
    );
    // The argument is written, the part of the fingerprint is not.
    assert_refused(
        idem.deliver(from(), chosen(1, &Bad::written(1), &body))
            .await,
        "no form to write",
    );
    assert_refused(
        idem.deliver(from(), of_its_tenant(7, &body)).await,
        "no tenant 7",
    );
    assert_eq!(body.starts(), 0);
    // The keys are free.
    assert_eq!(
        idem.scope(of_part(1, &Bad::written(1), &body))
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_key_that_panics_is_no_key_and_an_argument_that_panics_is_no_json() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let error = idem.scope(of_first_line(order(), &body)).await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidKey { handler, .. } if handler == "outside.key"),
        "{error:?}"
    );
    let error = idem
        .scope(of_part(1, &Bad::written(0), &body))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Codec { key, .. } if key == "1,bad"),
        "{error:?}"
    );
}

/// Its copies panic, so many times.
#[derive(Debug, Serialize)]
struct Uncopied<'a> {
    #[serde(skip)]
    left: &'a AtomicU32,
}

impl<'a> Uncopied<'a> {
    fn of(left: &'a AtomicU32) -> Self {
        Self { left }
    }
}

impl Clone for Uncopied<'_> {
    fn clone(&self) -> Self {
        let left = self
            .left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "no copy");
        Self::of(self.left)
    }
}

#[idempotent(
    name = "outside.copies",
    key = "id",
    retries = 1,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn copied(id: u32, what: Uncopied<'_>, body: &Body) -> Result<u32, Error> {
    let _ = what;
    Ok(body.start())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is copied for each attempt"
)]
#[idempotent(
    name = "outside.copies_now",
    key = "id",
    retries = 1,
    backoff(initial = "0ms"),
    skip(body)
)]
fn copied_now(id: u32, what: Uncopied<'_>, body: &Body) -> Result<u32, Error> {
    let _ = what;
    Ok(body.start())
}

#[tokio::test]
async fn an_argument_whose_copy_panics_is_an_attempt_that_panicked() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let (once, always) = (AtomicU32::new(1), AtomicU32::new(u32::MAX));
    assert_eq!(
        idem.scope(copied(1, Uncopied::of(&once), &body))
            .await
            .unwrap(),
        1
    );
    let dead = idem
        .deliver(
            Origin::new("test", "orders"),
            copied(2, Uncopied::of(&always), &body),
        )
        .await;
    let letter = only_letter(&idem).await;
    assert!(
        matches!(dead.output, Err(Error::DeadLettered { id, .. }) if id == letter.id),
        "{:?}",
        dead.output
    );
    assert_eq!(dead.verdict, Verdict::Settled);
    let outcomes: Vec<_> = letter.attempts.iter().map(|past| past.outcome).collect();
    assert_eq!(
        outcomes,
        [AttemptOutcome::Panicked, AttemptOutcome::Panicked]
    );
    assert_eq!(letter.last_error(), Some("copying the arguments: no copy"));

    let dead = idem.sync_scope(|| copied_now(1, Uncopied::of(&always), &body));
    assert!(matches!(dead, Err(Error::DeadLettered { .. })), "{dead:?}");
    assert_eq!(body.starts(), 1);
}

/// A result that panics when it is written, or, once it may not be read any more, when it is read.
#[derive(Debug)]
struct Kept {
    written: bool,
}

static UNREADABLE: AtomicBool = AtomicBool::new(false);

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        assert!(self.written, "no form to write");
        to.serialize_bool(true)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        assert!(!UNREADABLE.load(SeqCst), "no form to read");
        bool::deserialize(from).map(|written| Self { written })
    }
}

#[idempotent(name = "outside.result", key = "id", skip(body, kept))]
async fn keeps(id: u32, kept: bool, body: &Body) -> Result<Kept, Error> {
    body.start();
    Ok(Kept { written: kept })
}

#[tokio::test]
async fn a_result_that_panics_when_it_is_written_is_a_letter_at_once() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let delivered = idem
        .deliver(Origin::new("test", "orders"), keeps(1, false, &body))
        .await;
    let error = delivered.output.unwrap_err();
    assert!(
        matches!(&error, Error::Codec { problem, .. } if problem.contains("no form to write")),
        "{error:?}"
    );
    assert_eq!(delivered.verdict, Verdict::Settled);
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.reason, letter.attempts.len()),
        (Reason::ResultNotStorable, 1)
    );
    let error = idem.scope(keeps(1, false, &body)).await.unwrap_err();
    assert!(
        matches!(error, Error::DeadLettered { id, .. } if id == letter.id),
        "{error:?}"
    );
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn a_recorded_result_that_panics_when_it_is_read_is_done_all_the_same() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    assert!(idem.scope(keeps(1, true, &body)).await.unwrap().written);
    UNREADABLE.store(true, SeqCst);
    let delivered = idem
        .deliver(Origin::new("test", "orders"), keeps(1, true, &body))
        .await;
    UNREADABLE.store(false, SeqCst);
    let error = delivered.output.unwrap_err();
    assert!(
        matches!(&error, Error::Codec { problem, .. } if problem.contains("no form to read")),
        "{error:?}"
    );
    assert_eq!(delivered.verdict, Verdict::Settled);
    assert!(idem.scope(keeps(1, true, &body)).await.unwrap().written);
    assert_eq!(body.starts(), 1);
    assert!(
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

/// An error whose text cannot be made.
#[derive(Debug)]
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words")
    }
}

impl From<Error> for Unprintable {
    fn from(_: Error) -> Self {
        Self
    }
}

#[idempotent(
    name = "outside.text",
    key = "id",
    retries = 1,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn fails_without_words(id: u32, body: &Body) -> Result<u32, Unprintable> {
    body.start();
    Err(Unprintable)
}

#[tokio::test]
async fn an_error_whose_text_panics_is_an_error_like_any_other() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let delivered = idem
        .deliver(Origin::new("test", "orders"), fails_without_words(1, &body))
        .await;
    assert!(delivered.output.is_err());
    assert_eq!((delivered.verdict, body.starts()), (Verdict::Settled, 2));
    let letter = only_letter(&idem).await;
    assert_eq!(letter.reason, Reason::BudgetSpent);
    let said = letter.last_error().unwrap();
    assert!(
        said.contains("cannot be printed") && said.contains("no words"),
        "{said}"
    );
}

fn undecided(_: &Oops) -> bool {
    panic!("no opinion")
}

#[idempotent(
    name = "outside.retry_if",
    key = "id",
    retries = 1,
    retry_if = undecided,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn fails_once(id: u32, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        1 => Err(Oops::own("busy")),
        number => Ok(number),
    }
}

#[tokio::test]
async fn an_error_that_nobody_can_judge_is_tried_again() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    assert_eq!(idem.scope(fails_once(1, &body)).await.unwrap(), 2);
}

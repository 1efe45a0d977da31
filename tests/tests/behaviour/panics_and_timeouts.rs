//! A body that panics or does not return is a failed attempt, and its caller gets an answer.

use std::time::Duration;

use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{
    Error,
    dead_letters::{AttemptOutcome, Reason},
    idempotent,
};

use crate::common::{Body, Oops, on, only_letter, soon};

#[idempotent(
    name = "panics.some",
    key = "id",
    retries = 1,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn panics(id: u32, times: u32, body: &Body) -> Result<u32, Oops> {
    let number = body.start();
    assert!(number > times, "out of tea, start {number}");
    Ok(number)
}

#[tokio::test]
async fn a_panic_is_tried_again() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    assert_eq!(idem.scope(panics(1, 1, &body)).await.unwrap(), 2);
}

#[tokio::test]
async fn the_last_panic_is_a_letter_with_its_message() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let error = idem
        .scope(panics(1, 9, &body))
        .await
        .unwrap_err()
        .into_idem();
    let letter = only_letter(&idem).await;
    assert!(matches!(error, Error::DeadLettered { id, .. } if id == letter.id));
    assert_eq!(letter.reason, Reason::BudgetSpent);
    let told: Vec<_> = letter
        .attempts
        .iter()
        .map(|past| (past.outcome, past.error.clone().unwrap()))
        .collect();
    let panicked = AttemptOutcome::Panicked;
    assert_eq!(
        told,
        [
            (panicked, "out of tea, start 1".to_owned()),
            (panicked, "out of tea, start 2".to_owned())
        ]
    );
}

#[idempotent(
    name = "panics.now",
    key = "id",
    retries = 1,
    backoff(initial = "0ms"),
    skip(body)
)]
fn panics_now(id: u32, body: &Body) -> Result<u32, Oops> {
    panic!("no {}", body.start())
}

#[test]
fn a_sync_body_that_panics_is_a_failed_attempt_too() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let error = idem
        .sync_scope(|| panics_now(1, &body))
        .unwrap_err()
        .into_idem();
    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
    let letter = pollster::block_on(only_letter(&idem));
    assert_eq!(letter.last_error(), Some("no 2"));
    assert_eq!(body.starts(), 2);
}

#[idempotent(name = "panics.any", key = "id", retries = 0)]
async fn panics_with_a_number(id: u32) -> Result<u32, Oops> {
    std::panic::panic_any(42_u64)
}

#[tokio::test]
async fn a_panic_without_a_text_is_a_letter_all_the_same() {
    let idem = temporary().unwrap();
    let error = idem
        .scope(panics_with_a_number(1))
        .await
        .unwrap_err()
        .into_idem();
    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
    assert_eq!(
        only_letter(&idem).await.attempts[0].outcome,
        AttemptOutcome::Panicked
    );
}

#[idempotent(
    name = "timeouts.slow",
    key = "id",
    retries = 1,
    backoff(initial = "1s"),
    timeout = "10s",
    skip(body, ended)
)]
async fn slow(id: u32, body: &Body, ended: &Body) -> Result<u32, Oops> {
    let _guard = Ended(ended);
    Ok(body.run().await)
}

/// Counts when it goes.
struct Ended<'a>(&'a Body);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.start();
    }
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_dropped_and_tried_again_and_then_dead() {
    let (clock, body, ended) = (ManualClock::default(), Body::shut(), Body::open());
    let idem = on(&clock);
    let time_passes = async {
        for number in 1..=2 {
            body.started(number).await;
            soon(clock.asleep(1)).await;
            assert_eq!(
                ended.starts(),
                number - 1,
                "an attempt is dropped before the next one starts"
            );
            clock.advance(Duration::from_secs(10));
            if number == 1 {
                // Its pause: the attempt is over when its future is gone.
                ended.started(1).await;
                soon(clock.asleep(1)).await;
                clock.advance(Duration::from_secs(1));
            }
        }
    };
    let (result, ()) =
        soon(async { tokio::join!(idem.scope(slow(1, &body, &ended)), time_passes) }).await;
    assert!(matches!(
        result.unwrap_err().into_idem(),
        Error::DeadLettered { .. }
    ));
    assert_eq!((body.starts(), ended.starts()), (2, 2));
    let letter = only_letter(&idem).await;
    assert_eq!(letter.reason, Reason::BudgetSpent);
    for past in &letter.attempts {
        assert_eq!(past.outcome, AttemptOutcome::TimedOut);
        assert!(past.outcome.is_unknown());
        assert_eq!(past.end.unwrap().duration_since(past.start).as_secs(), 10);
    }
}

#[tokio::test]
async fn a_body_that_returns_in_time_is_not_disturbed() {
    let (clock, body, ended) = (ManualClock::default(), Body::shut(), Body::open());
    let idem = on(&clock);
    let time_passes = async {
        body.started(1).await;
        soon(clock.asleep(1)).await;
        clock.advance(Duration::from_millis(9_999));
        body.let_go();
    };
    let (result, ()) =
        soon(async { tokio::join!(idem.scope(slow(1, &body, &ended)), time_passes) }).await;
    assert_eq!(result.unwrap(), 1);
}

#[idempotent(
    name = "timeouts.bury",
    key = "id",
    timeout = "10s",
    on_crash = "bury",
    skip(body)
)]
async fn bury(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn a_timeout_has_an_unknown_outcome_so_a_handler_that_buries_is_dead_at_once() {
    let (clock, body) = (ManualClock::default(), Body::shut());
    let idem = on(&clock);
    let time_passes = async {
        body.started(1).await;
        soon(clock.asleep(1)).await;
        clock.advance(Duration::from_secs(10));
    };
    let (result, ()) = soon(async { tokio::join!(idem.scope(bury(1, &body)), time_passes) }).await;
    assert!(matches!(
        result.unwrap_err().into_idem(),
        Error::DeadLettered { .. }
    ));
    assert_eq!(only_letter(&idem).await.reason, Reason::UnknownOutcome);
}

#[idempotent(
    name = "panics.bury",
    key = "id",
    on_crash = "bury",
    backoff(initial = "0ms"),
    skip(body)
)]
async fn bury_but_fail(id: u32, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        1 => Err(Oops::own("said no")),
        2 => panic!("said no loudly"),
        number => Ok(number),
    }
}

#[tokio::test]
async fn an_error_and_a_panic_are_known_outcomes_and_are_tried_again_by_a_handler_that_buries() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    assert_eq!(idem.scope(bury_but_fail(1, &body)).await.unwrap(), 3);
}

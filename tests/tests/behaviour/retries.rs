//! A failed attempt is tried again, so often and no more, with pauses; then the message is dead.

use std::time::Duration;

use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{
    Error, attempt,
    clock::Timestamp,
    dead_letters::{AttemptOutcome, Reason},
    idempotent,
};

use crate::common::{Body, Log, Oops, on, only_letter, poll_once, soon};

#[idempotent(
    name = "retries.never",
    key = "id",
    retries = 3,
    backoff(initial = "1ms", factor = 1),
    skip(body)
)]
async fn never(id: &str, body: &Body) -> Result<(), Oops> {
    Err(Oops::own(format!("failure {}", body.run().await)))
}

#[tokio::test]
async fn three_retries_are_four_starts_and_the_caller_gets_the_last_error() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let error = idem.scope(never("A-1", &body)).await.unwrap_err();
    assert_eq!(error.into_own(), "failure 4");
    assert_eq!(body.starts(), 4);
}

#[tokio::test]
async fn every_call_after_it_is_refused_with_the_letter() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        never("A-1", &body).await.unwrap_err().into_own();
        let letter = only_letter(&idem).await;
        for _ in 0..3 {
            let error = never("A-1", &body).await.unwrap_err().into_idem();
            let Error::DeadLettered {
                id,
                handler,
                key,
                discarded,
                ..
            } = error
            else {
                panic!("{error:?}")
            };
            assert_eq!(
                (id, handler.as_str(), key.as_str()),
                (letter.id, "retries.never", "A-1")
            );
            assert!(!discarded);
        }
    })
    .await;
    assert_eq!(body.starts(), 4);
}

#[tokio::test]
async fn the_letter_tells_every_attempt() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(never("A-1", &body)).await.unwrap_err();
    let letter = only_letter(&idem).await;
    assert_eq!(letter.reason, Reason::BudgetSpent);
    let told: Vec<_> = letter
        .attempts
        .iter()
        .map(|past| (past.number, past.outcome, past.error.as_deref()))
        .collect();
    let failed = AttemptOutcome::Failed;
    assert_eq!(
        told,
        [
            (1, failed, Some("failure 1")),
            (2, failed, Some("failure 2")),
            (3, failed, Some("failure 3")),
            (4, failed, Some("failure 4")),
        ]
    );
    assert_eq!(letter.last_error(), Some("failure 4"));
}

#[tokio::test]
async fn a_message_that_waits_for_a_failing_one_is_told_of_its_death() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.scope(async {
        let (mut first, mut second) =
            (Box::pin(never("A-1", &body)), Box::pin(never("A-1", &body)));
        body.holds(&mut first, 1).await;
        assert!(poll_once(second.as_mut()).await.is_none());
        body.let_go();
        let (first, second) = soon(async { tokio::join!(first, second) }).await;
        assert_eq!(first.unwrap_err().into_own(), "failure 4");
        assert!(matches!(
            second.unwrap_err().into_idem(),
            Error::DeadLettered { .. }
        ));
    })
    .await;
    assert_eq!(body.starts(), 4);
}

#[idempotent(
    name = "retries.third",
    key = "id",
    backoff(initial = "0ms"),
    skip(body, seen)
)]
async fn third(id: u32, body: &Body, seen: &Log<(u32, u32)>) -> Result<u32, Oops> {
    let attempt = attempt().unwrap();
    seen.push((attempt.number, attempt.of));
    match body.start() {
        3 => Ok(3),
        _ => Err(Oops::own("not yet")),
    }
}

#[tokio::test]
async fn what_works_at_last_is_a_result_and_no_letter() {
    let (idem, body, seen) = (temporary().unwrap(), Body::open(), Log::default());
    idem.scope(async {
        assert_eq!(third(1, &body, &seen).await.unwrap(), 3);
        assert_eq!(third(1, &body, &seen).await.unwrap(), 3);
    })
    .await;
    assert_eq!(seen.take(), [(1, 4), (2, 4), (3, 4)]);
    assert!(
        idem.dead_letters()
            .list(&idem_runtime::Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[idempotent(name = "retries.once", key = "id", retries = 0, skip(body))]
async fn once(id: u32, body: &Body) -> Result<(), Oops> {
    Err(Oops::own(format!("failure {}", body.start())))
}

#[tokio::test]
async fn no_retries_are_one_start() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(once(1, &body).await.unwrap_err().into_own(), "failure 1");
        assert!(matches!(
            once(1, &body).await.unwrap_err().into_idem(),
            Error::DeadLettered { .. }
        ));
    })
    .await;
    assert_eq!(body.starts(), 1);
}

fn is_temporary(error: &Oops) -> bool {
    !error.to_string().contains("forbidden")
}

#[idempotent(name = "retries.some", key = "id", retry_if = is_temporary, backoff(initial = "0ms"), skip(body))]
async fn some(id: u32, body: &Body) -> Result<(), Oops> {
    match body.start() {
        1 => Err(Oops::own("busy")),
        _ => Err(Oops::own("forbidden")),
    }
}

#[tokio::test]
async fn a_permanent_error_is_dead_at_once() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(some(1, &body).await.unwrap_err().into_own(), "forbidden");
        assert!(matches!(
            some(1, &body).await.unwrap_err().into_idem(),
            Error::DeadLettered { .. }
        ));
    })
    .await;
    assert_eq!(body.starts(), 2);
    let letter = only_letter(&idem).await;
    assert_eq!(letter.reason, Reason::PermanentError);
    let outcomes: Vec<_> = letter.attempts.iter().map(|past| past.outcome).collect();
    assert_eq!(
        outcomes,
        [AttemptOutcome::Failed, AttemptOutcome::Permanent]
    );
}

#[idempotent(
    name = "retries.pauses",
    key = "id",
    retries = 4,
    backoff(initial = "1s", factor = 3, max = "5s"),
    skip(clock, body, starts)
)]
async fn pauses(
    id: u32,
    clock: &ManualClock,
    body: &Body,
    starts: &Log<Timestamp>,
) -> Result<(), Oops> {
    starts.push(idem_runtime::clock::Clock::now(clock));
    body.start();
    Err(Oops::own("no"))
}

#[tokio::test]
async fn pauses_grow_up_to_their_limit_and_are_exact_without_jitter() {
    let (clock, body, starts) = (ManualClock::default(), Body::open(), Log::default());
    let idem = on(&clock);
    let test = async {
        for (number, pause) in (1..).zip([1000, 3000, 5000, 5000]) {
            body.started(number).await;
            soon(clock.asleep(1)).await;
            clock.advance(Duration::from_millis(pause - 1));
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_millis(1));
        }
    };
    let call = idem.scope(pauses(1, &clock, &body, &starts));
    let (result, ()) = soon(async { tokio::join!(call, test) }).await;
    result.unwrap_err().into_own();
    let starts = starts.take();
    let between: Vec<_> = starts
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_millis())
        .collect();
    assert_eq!(between, [1000, 3000, 5000, 5000]);
    let letter = only_letter(&idem).await;
    let told: Vec<_> = letter.attempts.iter().map(|past| past.start).collect();
    assert_eq!(told, starts);
    assert_eq!((letter.first_seen, letter.died_at), (starts[0], starts[4]));
}

#[idempotent(
    name = "retries.anywhere",
    key = "id",
    backoff(initial = "1ms"),
    timeout = "1m",
    skip(body)
)]
async fn anywhere(id: u32, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        1 => Err(Oops::own("busy")),
        number => Ok(number),
    }
}

#[test]
fn pauses_and_timeouts_need_no_runtime_of_the_callers() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    assert_eq!(
        pollster::block_on(idem.scope(anywhere(1, &body))).unwrap(),
        2
    );
}

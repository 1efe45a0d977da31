//! With `retry = "redeliver"` the broker brings the message again, and idem counts.

use std::time::Duration;

use idem_runtime::testing::ManualClock;
use idem_runtime::{
    Error,
    dead_letters::{AttemptOutcome, Reason},
    idempotent,
};

use crate::common::{Body, Oops, on, only_letter, poll_once, soon};

#[idempotent(
    name = "redelivery.never",
    key = "id",
    retry = "redeliver",
    retries = 2,
    backoff(initial = "1s", factor = 2, max = "1h"),
    skip(body)
)]
async fn never(id: &str, body: &Body) -> Result<u32, Oops> {
    Err(Oops::own(format!("failure {}", body.run().await)))
}

#[tokio::test]
async fn each_attempt_returns_its_own_error_and_the_last_one_too() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        for number in 1..=3 {
            assert_eq!(
                never("A-1", &body).await.unwrap_err().into_own(),
                format!("failure {number}")
            );
            clock.advance(Duration::from_secs(3600));
        }
        let error = never("A-1", &body).await.unwrap_err().into_idem();
        assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
    })
    .await;
    assert_eq!(body.starts(), 3);
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.reason, letter.attempts.len()),
        (Reason::BudgetSpent, 3)
    );
}

#[tokio::test]
async fn a_call_before_the_pause_has_passed_is_told_how_long_and_nothing_runs() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    let not_yet = async || {
        let error = never("A-1", &body).await.unwrap_err().into_idem();
        let Error::NotYet {
            handler,
            key,
            after,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(
            (handler.as_str(), key.as_str()),
            ("redelivery.never", "A-1")
        );
        after
    };
    idem.scope(async {
        never("A-1", &body).await.unwrap_err().into_own();
        assert_eq!(not_yet().await, Duration::from_millis(1000));
        clock.advance(Duration::from_millis(999));
        assert_eq!(not_yet().await, Duration::from_millis(1));
        assert_eq!(body.starts(), 1);
        clock.advance(Duration::from_millis(1));
        assert_eq!(
            never("A-1", &body).await.unwrap_err().into_own(),
            "failure 2"
        );
        assert_eq!(not_yet().await, Duration::from_millis(2000));
        assert_eq!(body.starts(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_that_waited_for_a_failing_attempt_is_told_not_yet() {
    let (clock, body) = (ManualClock::default(), Body::shut());
    let idem = on(&clock);
    idem.scope(async {
        let (mut first, mut second) =
            (Box::pin(never("A-1", &body)), Box::pin(never("A-1", &body)));
        body.holds(&mut first, 1).await;
        assert!(poll_once(second.as_mut()).await.is_none());
        body.let_go();
        let (first, second) = soon(async { tokio::join!(first, second) }).await;
        assert_eq!(first.unwrap_err().into_own(), "failure 1");
        assert!(matches!(
            second.unwrap_err().into_idem(),
            Error::NotYet { .. }
        ));
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[idempotent(
    name = "redelivery.works",
    key = "id",
    retry = "redeliver",
    backoff(initial = "1s"),
    skip(body)
)]
async fn works(id: &str, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        1 => Err(Oops::own("busy")),
        number => Ok(number),
    }
}

#[tokio::test]
async fn a_redelivered_message_that_works_is_done_and_replayed() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        works("1", &body).await.unwrap_err().into_own();
        clock.advance(Duration::from_secs(1));
        assert_eq!(works("1", &body).await.unwrap(), 2);
        assert_eq!(works("1", &body).await.unwrap(), 2);
    })
    .await;
}

#[idempotent(
    name = "redelivery.panics",
    key = "id",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "1s"),
    skip(body)
)]
async fn panics(id: &str, body: &Body) -> Result<u32, Oops> {
    panic!("out of tea, start {}", body.start())
}

#[tokio::test]
async fn a_panic_is_handed_to_the_caller_as_an_error_also_the_last_one() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        for number in 1..=2 {
            let error = panics("A-1", &body).await.unwrap_err().into_idem();
            let Error::Panicked {
                handler,
                key,
                attempt,
                message,
            } = error
            else {
                panic!("{error:?}")
            };
            assert_eq!(
                (handler.as_str(), key.as_str(), attempt),
                ("redelivery.panics", "A-1", number)
            );
            assert_eq!(message, format!("out of tea, start {number}"));
            clock.advance(Duration::from_secs(1));
        }
        assert!(matches!(
            panics("A-1", &body).await.unwrap_err().into_idem(),
            Error::DeadLettered { .. }
        ));
    })
    .await;
    assert_eq!(
        only_letter(&idem).await.attempts[1].outcome,
        AttemptOutcome::Panicked
    );
}

#[idempotent(
    name = "redelivery.slow",
    key = "id",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "1s"),
    timeout = "5s",
    skip(body)
)]
async fn slow(id: &str, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn a_timeout_is_handed_to_the_caller_as_an_error_also_the_last_one() {
    let (clock, body) = (ManualClock::default(), Body::shut());
    let idem = on(&clock);
    idem.scope(async {
        for number in 1..=2 {
            let time_passes = async {
                body.started(number).await;
                soon(clock.asleep(1)).await;
                clock.advance(Duration::from_secs(5));
            };
            let (result, ()) = soon(async { tokio::join!(slow("A-1", &body), time_passes) }).await;
            let error = result.unwrap_err().into_idem();
            let Error::TimedOut {
                key,
                attempt,
                limit,
                ..
            } = error
            else {
                panic!("{error:?}")
            };
            assert_eq!(
                (key.as_str(), attempt, limit),
                ("A-1", number, Duration::from_secs(5))
            );
            clock.advance(Duration::from_secs(1));
        }
        assert!(matches!(
            slow("A-1", &body).await.unwrap_err().into_idem(),
            Error::DeadLettered { .. }
        ));
    })
    .await;
    assert_eq!(body.starts(), 2);
}

#[idempotent(name = "redelivery.once", key = "id", retry = "redeliver", skip(body))]
async fn takes_what_cannot_be_cloned(id: String, body: std::sync::Arc<Body>) -> Result<u32, Oops> {
    drop(id);
    Ok(body.start())
}

#[tokio::test]
async fn the_body_may_use_up_its_arguments() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    assert_eq!(
        idem.scope(takes_what_cannot_be_cloned("1".to_owned(), body))
            .await
            .unwrap(),
        1
    );
}

#[idempotent(
    name = "redelivery.content",
    key = "id",
    retry = "redeliver",
    backoff(initial = "1s"),
    skip(body)
)]
async fn content(id: u32, content: u32, body: &Body) -> Result<u32, Oops> {
    Err(Oops::own(format!("failure {}", body.run().await)))
}

#[tokio::test]
async fn another_content_is_refused_also_in_the_pause_and_after_it() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        content(1, 1, &body).await.unwrap_err().into_own();
        for _ in 0..2 {
            assert!(matches!(
                content(1, 2, &body).await.unwrap_err().into_idem(),
                Error::KeyReused { .. }
            ));
            clock.advance(Duration::from_secs(1));
        }
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn a_clock_that_steps_back_makes_no_pause_longer() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        let start = idem_runtime::clock::Clock::now(&clock);
        clock.advance(Duration::from_secs(10));
        never("waits", &body).await.unwrap_err().into_own();
        clock.set(start - Duration::from_secs(3600));
        match never("waits", &body).await.unwrap_err() {
            Oops::Idem(Error::NotYet { after, .. }) => {
                assert!(after <= Duration::from_secs(1), "{after:?}");
            }
            Oops::Own(text) => assert_eq!(text, "failure 2"),
            Oops::Idem(error) => panic!("{error:?}"),
        }
    })
    .await;
}

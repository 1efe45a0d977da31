//! A cancelled call has an outcome that nobody knows; it counts as a failed attempt, and harms no
//! one else.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{
    Error, Filter, Idem, attempt,
    dead_letters::{AttemptOutcome, Reason},
    idempotent,
};

use crate::common::{Body, Log, Oops, on, only_letter, poll_once, soon};

#[idempotent(
    name = "dropped.run",
    key = "id",
    retries = 2,
    backoff(initial = "1ms"),
    skip(body, numbers)
)]
async fn run(id: u32, body: &Body, numbers: &Log<u32>) -> Result<u32, Oops> {
    numbers.push(attempt().unwrap().number);
    Ok(body.run().await)
}

/// Polls a call until its body has started, and drops it.
macro_rules! start_and_drop {
    ($call:expr, $body:expr, $times:expr) => {{
        let mut call = Box::pin($call);
        tokio::select! {
            _ = &mut call => unreachable!("the door is shut"),
            () = $body.started($times) => {}
        }
        drop(call);
    }};
}

#[tokio::test]
async fn the_next_call_is_the_second_attempt() {
    let (idem, body, numbers) = (temporary().unwrap(), Body::shut(), Log::default());
    idem.scope(async {
        start_and_drop!(run(1, &body, &numbers), body, 1);
        body.let_go();
        assert_eq!(soon(run(1, &body, &numbers)).await.unwrap(), 2);
    })
    .await;
    assert_eq!(numbers.take(), [1, 2]);
}

#[tokio::test]
async fn dropped_calls_use_up_the_budget() {
    let (idem, body, numbers) = (temporary().unwrap(), Body::shut(), Log::default());
    let mut born = idem.dead_letters().watch();
    idem.scope(async {
        for times in 1..=3 {
            start_and_drop!(run(1, &body, &numbers), body, times);
        }
        let letter = soon(futures_util::StreamExt::next(&mut born))
            .await
            .unwrap();
        assert_eq!(letter.reason, Reason::BudgetSpent);
        let told: Vec<_> = letter
            .attempts
            .iter()
            .map(|past| (past.number, past.outcome))
            .collect();
        let dropped = AttemptOutcome::Dropped;
        assert_eq!(told, [(1, dropped), (2, dropped), (3, dropped)]);
        let error = soon(run(1, &body, &numbers)).await.unwrap_err().into_idem();
        assert!(matches!(error, Error::DeadLettered { id, .. } if id == letter.id));
    })
    .await;
    assert_eq!(body.starts(), 3);
}

#[tokio::test]
async fn who_waited_for_a_dropped_call_goes_on_with_the_next_attempt() {
    let (idem, body, numbers) = (temporary().unwrap(), Body::shut(), Log::default());
    idem.scope(async {
        let mut first = Box::pin(run(1, &body, &numbers));
        body.holds(&mut first, 1).await;
        let mut others: Vec<_> = (0..5).map(|_| Box::pin(run(1, &body, &numbers))).collect();
        for other in &mut others {
            assert!(poll_once(other.as_mut()).await.is_none());
        }
        drop(first);
        body.let_go();
        for result in soon(futures_util::future::join_all(others)).await {
            assert_eq!(result.unwrap(), 2);
        }
    })
    .await;
    assert_eq!(numbers.take(), [1, 2]);
}

#[tokio::test]
async fn a_call_dropped_while_it_waits_harms_nobody() {
    let (idem, body, numbers) = (temporary().unwrap(), Body::shut(), Log::default());
    idem.scope(async {
        let mut first = Box::pin(run(1, &body, &numbers));
        body.holds(&mut first, 1).await;
        let mut second = Box::pin(run(1, &body, &numbers));
        assert!(poll_once(second.as_mut()).await.is_none());
        let mut third = Box::pin(run(1, &body, &numbers));
        assert!(poll_once(third.as_mut()).await.is_none());
        drop(second);
        body.let_go();
        let (first, third) = soon(async { tokio::join!(first, third) }).await;
        assert_eq!((first.unwrap(), third.unwrap()), (1, 1));
    })
    .await;
    assert_eq!(numbers.take(), [1]);
}

#[tokio::test]
async fn a_call_dropped_before_it_is_polled_never_was() {
    let (idem, body, numbers) = (temporary().unwrap(), Body::open(), Log::default());
    idem.scope(async {
        drop(run(1, &body, &numbers));
        assert_eq!(run(1, &body, &numbers).await.unwrap(), 1);
    })
    .await;
    assert_eq!(numbers.take(), [1]);
}

#[tokio::test]
async fn a_call_dropped_on_its_way_to_or_from_its_body_costs_no_attempt() {
    let (idem, body, numbers) = (temporary().unwrap(), Body::open(), Log::default());
    idem.scope(async {
        for id in 0..200 {
            let mut call = Box::pin(run(id, &body, &numbers));
            for _ in 0..id % 4 {
                if poll_once(call.as_mut()).await.is_some() {
                    break;
                }
                std::thread::yield_now();
            }
            drop(call);
            soon(run(id, &body, &numbers)).await.unwrap();
            // The body does not pause: either it returned before the drop, and that is recorded, or
            // it runs now. What was dropped before it ran was no attempt.
            assert_eq!(numbers.take(), [1]);
        }
    })
    .await;
    assert!(
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[idempotent(
    name = "dropped.pause",
    key = "id",
    retries = 2,
    backoff(initial = "1h", max = "1h"),
    skip(body)
)]
async fn fails_once(id: u32, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        1 => Err(Oops::own("busy")),
        number => Ok(number),
    }
}

#[tokio::test]
async fn a_call_dropped_in_its_pause_loses_nothing_and_the_next_one_keeps_the_pause() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        let mut first = Box::pin(fails_once(1, &body));
        tokio::select! {
            _ = &mut first => unreachable!("it sleeps for an hour"),
            () = clock.asleep(1) => {}
        }
        let mut waiting = Box::pin(fails_once(1, &body));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        drop(first);
        clock.advance(Duration::from_secs(1800));
        let time_passes = async {
            soon(clock.asleep(1)).await;
            assert_eq!(body.starts(), 1);
            clock.advance(Duration::from_secs(1800));
        };
        let (result, ()) = soon(async { tokio::join!(waiting, time_passes) }).await;
        assert_eq!(result.unwrap(), 2);
    })
    .await;
}

#[idempotent(name = "dropped.bury", key = "id", on_crash = "bury", skip(body))]
async fn bury(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn a_handler_that_must_not_run_on_a_guess_is_dead_at_once() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.scope(async {
        start_and_drop!(bury(1, &body), body, 1);
        let error = soon(bury(1, &body)).await.unwrap_err().into_idem();
        let letter = only_letter(&idem).await;
        assert!(matches!(error, Error::DeadLettered { id, .. } if id == letter.id));
        assert_eq!(letter.reason, Reason::UnknownOutcome);
        assert_eq!(
            (letter.attempts.len(), letter.attempts[0].outcome),
            (1, AttemptOutcome::Dropped)
        );
        assert!(letter.attempts[0].outcome.is_unknown());
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[idempotent(
    name = "dropped.early",
    key = "id",
    retries = 1,
    in_flight = "reject",
    skip(body, numbers)
)]
async fn early(id: u32, body: &Body, numbers: &Log<u32>) -> Result<u32, Oops> {
    numbers.push(attempt().unwrap().number);
    Ok(body.run().await)
}

#[idempotent(
    name = "dropped.careful",
    key = "id",
    on_crash = "bury",
    in_flight = "reject",
    skip(body)
)]
async fn careful(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[idempotent(
    name = "dropped.later",
    key = "id",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "0s"),
    in_flight = "reject",
    skip(body)
)]
async fn fails(id: u32, body: &Body) -> Result<u32, Oops> {
    Err(Oops::own(format!("failure {}", body.start())))
}

/// Polls a call until the ledger is at work on its claim, which it answers on a thread of its own,
/// and drops it; so often. Returns whether no body started: on a busy machine the ledger may answer
/// within the poll.
macro_rules! claim_and_drop {
    ($call:expr, $times:expr, $body:expr) => {{
        let (before, mut started) = ($body.starts(), false);
        for _ in 0..$times {
            soon(async {
                loop {
                    let mut call = Box::pin($call);
                    match poll_once(call.as_mut()).await {
                        // The one before is still being given back.
                        Some(Err(Oops::Idem(Error::InProgress { .. }))) => {
                            tokio::task::yield_now().await
                        }
                        None => break,
                        Some(_) => {
                            started = true;
                            break;
                        }
                    }
                }
            })
            .await;
        }
        !started && $body.starts() == before
    }};
}

/// The first of these keys for which `$dropped` says that no body started.
macro_rules! first_undisturbed {
    ($ids:expr, |$id:ident| $dropped:expr) => {{
        let mut ids = $ids;
        loop {
            let $id = ids.next().expect("a drop before the body starts");
            if $dropped {
                break $id;
            }
        }
    }};
}

/// Calls until the one before has been given back.
macro_rules! call {
    ($call:expr) => {
        soon(async {
            loop {
                match $call.await {
                    Err(Oops::Idem(Error::InProgress { .. })) => tokio::task::yield_now().await,
                    other => break other,
                }
            }
        })
        .await
    };
}

#[tokio::test]
async fn calls_dropped_before_their_bodies_start_are_no_attempts() {
    let (clock, body, numbers) = (ManualClock::default(), Body::open(), Log::default());
    let (idem, shut) = (on(&clock), Body::shut());
    let kept = idem
        .scope(async {
            let first = first_undisturbed!(0..100, |id| claim_and_drop!(
                early(id, &shut, &numbers),
                5,
                shut
            ));
            numbers.take();
            assert_eq!(call!(early(first, &body, &numbers)).unwrap(), 1);
            assert_eq!(numbers.take(), [1]);
            // Not even where a guess is forbidden.
            let second =
                first_undisturbed!(100..200, |id| claim_and_drop!(careful(id, &shut), 5, shut));
            assert_eq!(call!(careful(second, &body)).unwrap(), 2);
            // One that is not repeated was never there.
            let third = first_undisturbed!(200..300, |id| claim_and_drop!(
                early(id, &shut, &numbers),
                1,
                shut
            ));
            [first, second, third]
        })
        .await;
    idem.close().await.unwrap();
    let reopened = Idem::builder()
        .clock(Arc::new(clock.clone()))
        .open(idem.path())
        .unwrap();
    clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
    reopened.sweep().await.unwrap();
    let letters = reopened.dead_letters();
    for id in kept {
        let of_key = Filter::default().key(id.to_string());
        assert!(letters.list(&of_key).await.unwrap().is_empty(), "{id}");
    }
}

#[tokio::test]
async fn calls_dropped_before_a_later_attempt_starts_leave_it_to_others() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let letters = idem.dead_letters();
    let letter_of = async |id: u32| {
        let of_key = Filter::default().key(id.to_string());
        let mut all = letters.list(&of_key).await.unwrap();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    };
    let dropped_before_the_second = async |id: u32| {
        call!(fails(id, &body)).unwrap_err().into_own();
        if !claim_and_drop!(fails(id, &body), 5, body) {
            return false;
        }
        let next = format!("failure {}", body.starts() + 1);
        assert_eq!(call!(fails(id, &body)).unwrap_err().into_own(), next);
        let letter = letter_of(id).await;
        assert_eq!(
            (letter.reason, letter.attempts.len()),
            (Reason::BudgetSpent, 2)
        );
        // A redriven one is waited for as before, and its redrive can be undone.
        letters.redrive(&letter.id).await.unwrap();
        if !claim_and_drop!(fails(id, &body), 5, body) {
            return false;
        }
        soon(async {
            while letters.restore(&letter.id, "not run yet").await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(letter_of(id).await.id, letter.id);
        true
    };
    idem.scope(async {
        first_undisturbed!(0..100, |id| dropped_before_the_second(id).await);
    })
    .await;
}

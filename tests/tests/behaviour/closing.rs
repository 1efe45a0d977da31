//! `close` lets running calls end, takes no new ones, and lets go of the folder.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::dead_letters::AttemptOutcome;
use idem_runtime::error::CloseError;
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, StoreCall, StoreFault, UnreliableLedger,
    open_on, temporary, temporary_with,
};
use idem_runtime::{Error, Idem, idempotent};
use tokio::sync::watch;

use crate::common::{Body, Oops, on, only_letter, poll_once, soon};
use crate::transactions::Shop;

#[idempotent(name = "closing.run", key = "id", retries = 0, skip(body))]
pub(crate) async fn run(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[idempotent(name = "closing.run_now", key = "id", retries = 0, skip(body))]
fn run_now(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run_now())
}

#[tokio::test]
async fn a_running_call_ends_before_it_and_new_ones_are_refused() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.scope(async {
        let mut running = Box::pin(run(1, &body));
        body.holds(&mut running, 1).await;
        let mut closing = Box::pin(idem.close());
        assert!(poll_once(closing.as_mut()).await.is_none());
        let refused = [
            run(2, &body).await.unwrap_err().into_idem(),
            run_now(3, &body).unwrap_err().into_idem(),
        ];
        for error in refused {
            let Error::Closed { handler, key } = &error else {
                panic!("{error:?}")
            };
            assert!(handler.as_deref().unwrap().starts_with("closing.run") && key.is_some());
        }
        assert!(poll_once(closing.as_mut()).await.is_none());
        body.let_go();
        let (result, closed) = soon(async { tokio::join!(running, closing) }).await;
        assert_eq!(result.unwrap(), 1);
        closed.unwrap();
        assert!(
            matches!(
                run(1, &body).await.unwrap_err().into_idem(),
                Error::Closed { .. }
            ),
            "also a duplicate"
        );
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn a_waiting_duplicate_is_a_running_call() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.scope(async {
        let (mut first, mut second) = (Box::pin(run(1, &body)), Box::pin(run(1, &body)));
        body.holds(&mut first, 1).await;
        assert!(poll_once(second.as_mut()).await.is_none());
        body.let_go();
        let (first, second, closed) =
            soon(async { tokio::join!(first, second, idem.close()) }).await;
        assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
        closed.unwrap();
    })
    .await;
}

#[tokio::test]
async fn every_clone_is_closed_and_closing_again_is_no_harm() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let clone = Idem::clone(&idem);
    clone.close().await.unwrap();
    assert!(matches!(
        idem.scope(run(1, &body)).await.unwrap_err().into_idem(),
        Error::Closed { .. }
    ));
    soon(idem.close()).await.unwrap();
    soon(clone.close()).await.unwrap();
}

#[tokio::test]
async fn the_folder_is_free_afterwards_although_handles_are_left() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    assert_eq!(idem.scope(run(1, &body)).await.unwrap(), 1);
    assert!(
        matches!(Idem::open(idem.path()), Err(Error::Ledger { .. })),
        "it is held"
    );
    idem.close().await.unwrap();
    let again = Idem::open(idem.path()).unwrap();
    assert_eq!(again.scope(run(1, &body)).await.unwrap(), 1);
}

#[tokio::test]
async fn at_the_deadline_it_says_how_many_calls_are_left_and_their_attempts_count_as_crashed() {
    let (clock, body) = (ManualClock::default(), Body::shut());
    let deadline = Duration::from_secs(10);
    let builder = || {
        Idem::builder()
            .clock(Arc::new(clock.clone()))
            .close_deadline(deadline)
    };
    let idem = temporary_with(builder()).unwrap();
    idem.scope(async {
        let (mut one, mut two) = (Box::pin(run(1, &body)), Box::pin(run(2, &body)));
        tokio::select! {
            _ = async { tokio::join!(&mut one, &mut two) } => unreachable!("the door is shut"),
            () = body.started(2) => {}
        }
        let time_passes = async {
            soon(clock.asleep(1)).await;
            clock.advance(deadline);
        };
        let (closed, ()) = soon(async { tokio::join!(idem.close(), time_passes) }).await;
        let error = closed.unwrap_err();
        assert!(
            matches!(error, CloseError::StillRunning { running: 2, waited } if waited == deadline),
            "{error:?}"
        );

        body.let_go();
        let error = soon(one).await.unwrap_err().into_idem();
        assert!(
            matches!(error, Error::Closed { .. } | Error::Ledger { .. }),
            "not recorded, so not an Ok: {error:?}"
        );
        drop(two);
    })
    .await;
    let again = builder().open(idem.path()).unwrap();
    let letters = again
        .dead_letters()
        .list(&idem_runtime::Filter::default())
        .await
        .unwrap();
    assert_eq!(
        letters.len(),
        2,
        "one attempt was all they had: {letters:#?}"
    );
    for letter in letters {
        assert_eq!(letter.attempts[0].outcome, AttemptOutcome::Crashed);
    }
}

#[tokio::test]
async fn a_dropped_calls_attempt_is_given_back_before_it_ends() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.scope(async {
        let mut call = Box::pin(run(1, &body));
        body.holds(&mut call, 1).await;
        drop(call);
        soon(idem.close()).await.unwrap();
    })
    .await;
    let again = Idem::open(idem.path()).unwrap();
    assert_eq!(
        only_letter(&again).await.attempts[0].outcome,
        AttemptOutcome::Dropped
    );
}

#[idempotent(
    name = "closing.pauses",
    key = "id",
    retries = 1,
    backoff(initial = "1s"),
    skip(body)
)]
async fn pauses(id: u32, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        1 => Err(Oops::own("busy")),
        number => Ok(number),
    }
}

#[tokio::test]
async fn a_call_in_its_pause_is_a_running_call_and_ends_as_it_would_have() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        let mut call = Box::pin(pauses(1, &body));
        tokio::select! {
            _ = &mut call => unreachable!("it sleeps for a second"),
            () = clock.asleep(1) => {}
        }
        let mut closing = Box::pin(idem.close());
        assert!(poll_once(closing.as_mut()).await.is_none());
        clock.advance(Duration::from_secs(1));
        let (result, closed) = soon(async { tokio::join!(call, closing) }).await;
        assert_eq!(result.unwrap(), 2);
        closed.unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_watches_letters_is_told_the_end() {
    let idem = temporary().unwrap();
    let mut watch = idem.dead_letters().watch();
    drop(idem);
    assert_eq!(soon(futures_util::StreamExt::next(&mut watch)).await, None);
}

#[tokio::test]
async fn a_call_that_ends_after_the_ledger_was_closed_is_not_told_that_nothing_ran() {
    let (clock, body) = (ManualClock::default(), Body::shut());
    let builder = Idem::builder()
        .clock(Arc::new(clock.clone()))
        .close_deadline(Duration::ZERO);
    let idem = temporary_with(builder).unwrap();
    idem.scope(async {
        let mut running = Box::pin(run(1, &body));
        body.holds(&mut running, 1).await;
        assert!(matches!(
            soon(idem.close()).await,
            Err(CloseError::StillRunning { running: 1, .. })
        ));
        body.let_go();
        let error = soon(running).await.unwrap_err().into_idem();
        assert!(!error.to_string().contains("nothing ran"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn it_waits_for_no_sweep_of_a_ledger_in_trouble() {
    let sweeps = watch::Sender::new(0);
    let swept = sweeps.clone();
    let ledger = UnreliableLedger::new(
        MemoryLedger::new(Arc::new(ManualClock::default())),
        move |call| match call {
            LedgerCall::Sweep => {
                swept.send_modify(|sweeps| *sweeps += 1);
                // The first one opens it.
                (*swept.borrow() > 1).then_some(LedgerFault::Silent)
            }
            _ => None,
        },
    );
    let idem = open_on(Idem::builder(), ledger).unwrap();
    soon(sweeps.subscribe().wait_for(|sweeps| *sweeps > 1))
        .await
        .unwrap();
    soon(idem.close()).await.unwrap();
}

#[tokio::test]
async fn it_waits_for_no_pause_of_a_ledger_that_was_in_trouble() {
    let (shop, body) = (Shop::open().await, Body::open());
    // The step of the caller, and the first one of the background, which pauses after it.
    for _ in 0..2 {
        shop.store.next(StoreCall::Write, StoreFault::Away);
    }
    let ran = soon(shop.idem.scope(run(1, &body))).await;
    assert_eq!(ran.unwrap(), 1);
    soon(shop.idem.close()).await.unwrap();
}

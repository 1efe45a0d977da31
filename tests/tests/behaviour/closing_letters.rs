//! Letters that are run or published while `close` waits for what is running.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::dead_letters::LetterError;
use idem_runtime::error::CloseError;
use idem_runtime::ledger::LedgerError;
use idem_runtime::testing::{ManualClock, temporary, temporary_with};
use idem_runtime::{DeadLetterId, Idem, Origin, idempotent};
use tokio::sync::Barrier;

use crate::closing::run;
use crate::common::{Body, Oops, only_letter, poll_once, soon};

#[tokio::test]
async fn letters_cannot_be_acted_on_afterwards_and_it_says_why() {
    let idem = temporary().unwrap();
    let letters = idem.dead_letters();
    idem.close().await.unwrap();
    let id = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    for error in [
        letters
            .list(&idem_runtime::Filter::default())
            .await
            .unwrap_err(),
        letters.get(&id).await.unwrap_err(),
    ] {
        assert!(matches!(error, LedgerError::Closed), "{error}");
    }
    let error = letters.redrive(&id).await.unwrap_err();
    assert!(format!("{error:#}").contains("closed"), "{error:#}");
}

#[idempotent(name = "closing_letters.fails", key = "_id", retries = 0)]
fn fails(_id: u32) -> Result<u32, Oops> {
    Err(Oops::own("no"))
}

#[idempotent(
    name = "closing_letters.fails_twice",
    key = "_id",
    retries = 1,
    retry = "redeliver",
    backoff(initial = "1s")
)]
fn fails_twice(_id: u32) -> Result<u32, Oops> {
    Err(Oops::own("no"))
}

#[tokio::test]
async fn a_letter_whose_run_it_refuses_stays_open_and_the_run_is_no_failure() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.register_handler("closing_letters.fails", async |id: u32| fails(id));
    idem.scope(async {
        fails(7).unwrap_err();
        let letter = only_letter(&idem).await;
        let mut running = Box::pin(run(1, &body));
        body.holds(&mut running, 1).await;
        let mut closing = Box::pin(idem.close());
        assert!(poll_once(closing.as_mut()).await.is_none());
        let error = idem.dead_letters().run(&letter.id).await.unwrap_err();
        assert!(is_closed(&error), "{error:?}");
        assert_eq!(only_letter(&idem).await, letter);
        body.let_go();
        let (result, closed) = soon(async { tokio::join!(running, closing) }).await;
        assert_eq!(result.unwrap(), 1);
        closed.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_letter_is_run_no_further_than_the_attempt_that_it_meets() {
    let clock = ManualClock::default();
    let (idem, body) = (
        temporary_with(Idem::builder().clock(Arc::new(clock.clone()))).unwrap(),
        Body::shut(),
    );
    idem.register_handler("closing_letters.fails_twice", async |id: u32| {
        fails_twice(id)
    });
    idem.scope(async {
        fails_twice(7).unwrap_err();
        clock.advance(Duration::from_secs(1));
        fails_twice(7).unwrap_err();
        let letter = only_letter(&idem).await;
        let mut running = Box::pin(run(1, &body));
        body.holds(&mut running, 1).await;
        let letters = idem.dead_letters();
        let mut rerun = Box::pin(letters.run(&letter.id));
        soon(async {
            tokio::select! {
                biased;
                _ = &mut rerun => unreachable!("it pauses"),
                () = clock.asleep(1) => {}
            }
        })
        .await;
        let mut closing = Box::pin(idem.close());
        assert!(poll_once(closing.as_mut()).await.is_none());
        clock.advance(Duration::from_secs(1));
        let error = soon(rerun).await.unwrap_err();
        assert!(is_closed(&error), "{error:?}");
        body.let_go();
        let (result, closed) = soon(async { tokio::join!(running, closing) }).await;
        assert_eq!(result.unwrap(), 1);
        closed.unwrap();
    })
    .await;
}

/// A letter whose broker refuses its message once the gate was passed twice.
async fn letter_of_a_full_broker(idem: &Idem, gate: &Arc<Barrier>) -> DeadLetterId {
    let of = Arc::clone(gate);
    idem.register_publisher("rabbitmq:orders", move |_| {
        let gate = Arc::clone(&of);
        async move {
            gate.wait().await;
            gate.wait().await;
            Err("the broker is full")
        }
    });
    let orders = Origin::new("rabbitmq", "orders");
    let letter = idem.bury(
        "closing_letters.bury",
        "m-1",
        b"no JSON",
        orders,
        "unreadable",
    );
    letter.await.unwrap()
}

#[tokio::test]
async fn a_letter_that_is_being_published_is_open_again_if_its_broker_refuses_it() {
    let (idem, gate) = (temporary().unwrap(), Arc::new(Barrier::new(2)));
    let id = letter_of_a_full_broker(&idem, &gate).await;
    let letters = idem.dead_letters();
    let closing = async {
        gate.wait().await;
        let mut closing = Box::pin(idem.close());
        assert!(poll_once(closing.as_mut()).await.is_none());
        gate.wait().await;
        closing.await
    };
    let (published, closed) = soon(async { tokio::join!(letters.republish(&id), closing) }).await;
    assert!(matches!(published, Err(LetterError::NotPublished { .. })));
    closed.unwrap();
    let again = Idem::open(idem.path()).unwrap();
    assert_eq!(only_letter(&again).await.id, id);
}

#[tokio::test]
async fn it_waits_for_a_letter_that_is_being_published_as_for_a_call() {
    let (clock, gate) = (ManualClock::default(), Arc::new(Barrier::new(2)));
    let deadline = Duration::from_secs(10);
    let builder = Idem::builder().clock(Arc::new(clock.clone()));
    let idem = temporary_with(builder.close_deadline(deadline)).unwrap();
    let id = letter_of_a_full_broker(&idem, &gate).await;
    let letters = idem.dead_letters();
    let closing = async {
        gate.wait().await;
        let time_passes = async {
            clock.asleep(1).await;
            clock.advance(deadline);
        };
        let (closed, ()) = tokio::join!(idem.close(), time_passes);
        gate.wait().await;
        closed
    };
    let (_, closed) = soon(async { tokio::join!(letters.republish(&id), closing) }).await;
    let error = closed.unwrap_err();
    assert!(
        matches!(error, CloseError::StillRunning { running: 1, .. }),
        "{error:?}"
    );
}

fn is_closed(error: &LetterError) -> bool {
    matches!(
        error,
        LetterError::Ledger {
            source: LedgerError::Closed
        }
    )
}

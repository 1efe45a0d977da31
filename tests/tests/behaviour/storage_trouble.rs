//! A ledger that refuses, or does its work and loses the answer: no body runs on a guess, and no
//! caller is told Ok.

use std::sync::{Arc, Mutex};

use idem_runtime::dead_letters::LetterError;
use idem_runtime::ledger::LedgerError;
use idem_runtime::protocol::Step;
use idem_runtime::testing::{
    LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, open_on,
};
use idem_runtime::{Error, Filter, Idem, Origin, Verdict, idempotent, outbox::OutboxMessage};
use tokio::sync::watch;

use crate::common::{Body, Oops, poll_once, soon};

/// The trouble of a ledger whose disk is full at times.
#[derive(Clone)]
struct Shaky {
    trouble: watch::Sender<Trouble>,
    /// The next of these steps is held up until it is let go.
    hold: Arc<Mutex<Option<&'static str>>>,
    held: watch::Sender<bool>,
    let_go: watch::Sender<bool>,
    sweeps: watch::Sender<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    None,
    /// These steps are not made.
    Refused(&'static str),
    /// These steps are made, and nobody hears of it.
    Unheard(&'static str),
}

impl Shaky {
    fn set(&self, trouble: Trouble) {
        self.trouble.send_replace(trouble);
    }

    /// Waits until the background is at such a step, and leaves it there until the sender says
    /// true.
    async fn hold(&self, kind: &'static str) {
        *self.hold.lock().unwrap() = Some(kind);
        soon(self.held.subscribe().wait_for(|held| *held))
            .await
            .unwrap();
    }

    /// Lets go of the held step, and waits until the background is through with it.
    async fn let_go(&self) {
        let mut sweeps = self.sweeps.subscribe();
        let before = *sweeps.borrow_and_update();
        self.let_go.send_replace(true);
        soon(sweeps.wait_for(|sweeps| *sweeps > before))
            .await
            .unwrap();
    }

    /// What goes wrong with a call.
    fn fault(&self, call: &LedgerCall<'_>) -> Option<LedgerFault> {
        let kind = kind(call);
        if kind == "sweep" {
            self.sweeps.send_modify(|sweeps| *sweeps += 1);
        }
        let mut hold = self.hold.lock().unwrap();
        if hold.take_if(|wanted| *wanted == kind).is_some() {
            let shaky = self.clone();
            return Some(LedgerFault::Held(Box::pin(async move {
                shaky.held.send_replace(true);
                let _ = shaky.let_go.subscribe().wait_for(|let_go| *let_go).await;
            })));
        }
        let error = LedgerError::Other("no room left".to_owned());
        match *self.trouble.borrow() {
            Trouble::Refused(refused) if refused == kind => Some(LedgerFault::Refused(error)),
            Trouble::Unheard(unheard) if unheard == kind => Some(LedgerFault::Lost(error)),
            _ => None,
        }
    }
}

fn kind(call: &LedgerCall<'_>) -> &'static str {
    match call {
        LedgerCall::Step(_, Step::Claim(_)) => "claim",
        LedgerCall::Step(_, Step::Complete { .. }) => "complete",
        LedgerCall::Step(_, Step::Fail(_)) => "fail",
        LedgerCall::Step(_, Step::GiveBack { .. }) => "give back",
        LedgerCall::Step(_, Step::Bury(_)) => "bury",
        LedgerCall::Step(_, Step::Redrive { .. }) => "redrive",
        LedgerCall::WriteNotes(_) => "notes",
        LedgerCall::Sweep => "sweep",
        _ => "other",
    }
}

fn shaky() -> (Idem, Shaky) {
    let clock: Arc<ManualClock> = Arc::default();
    let shaky = Shaky {
        trouble: watch::Sender::new(Trouble::None),
        hold: Arc::default(),
        held: watch::Sender::new(false),
        let_go: watch::Sender::new(false),
        sweeps: watch::Sender::new(0),
    };
    let trouble = shaky.clone();
    let ledger = UnreliableLedger::new(MemoryLedger::new(clock.clone()), move |call| {
        trouble.fault(call)
    });
    (
        open_on(Idem::builder().clock(clock), ledger).unwrap(),
        shaky,
    )
}

#[track_caller]
fn assert_trouble<T: std::fmt::Debug>(result: Result<T, Oops>) {
    let error = result.unwrap_err().into_idem();
    let Error::Ledger { handler, key, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        handler.is_some() && key.is_some() && format!("{error:#}").contains("no room left"),
        "{error:#}"
    );
}

#[idempotent(
    name = "trouble.run",
    key = "id",
    retries = 2,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn run(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[idempotent(
    name = "trouble.fail",
    key = "id",
    retries = 2,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn fail(id: u32, body: &Body) -> Result<u32, Oops> {
    Err(Oops::own(format!("failure {}", body.run().await)))
}

#[tokio::test]
async fn without_a_durable_claim_no_body_runs() {
    let ((idem, ledger), body) = (shaky(), Body::open());
    idem.scope(async {
        for trouble in [Trouble::Refused("claim"), Trouble::Unheard("claim")] {
            ledger.set(trouble);
            assert_trouble(run(1, &body).await);
            assert_eq!(body.starts(), 0);
        }
        ledger.set(Trouble::None);
        assert_eq!(run(1, &body).await.unwrap(), 1, "there is room again");
    })
    .await;
}

#[tokio::test]
async fn a_result_that_was_not_recorded_is_no_ok_and_the_body_does_not_run_twice_for_it() {
    for trouble in [Trouble::Refused("complete"), Trouble::Unheard("complete")] {
        let ((idem, ledger), body) = (shaky(), Body::open());
        idem.scope(async {
            ledger.set(trouble);
            assert_trouble(run(1, &body).await);
            assert_eq!(body.starts(), 1);
            ledger.set(Trouble::None);
            assert_eq!(
                run(1, &body).await.unwrap(),
                1,
                "{trouble:?}: what happened is recorded after all"
            );
            assert_eq!(body.starts(), 1);
        })
        .await;
    }
}

#[tokio::test]
async fn while_a_result_cannot_be_recorded_duplicates_do_not_run() {
    let ((idem, ledger), body) = (shaky(), Body::shut());
    idem.scope(async {
        let (mut first, mut second) = (Box::pin(run(1, &body)), Box::pin(run(1, &body)));
        body.holds(&mut first, 1).await;
        assert!(poll_once(second.as_mut()).await.is_none());
        ledger.set(Trouble::Refused("complete"));
        body.let_go();
        let (first, second) = soon(async { tokio::join!(first, second) }).await;
        assert_trouble(first);
        assert_trouble(second);
        assert_trouble(run(1, &body).await);
        ledger.set(Trouble::None);
        assert_eq!(run(1, &body).await.unwrap(), 1);
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn a_failure_that_was_not_recorded_counts_all_the_same() {
    for trouble in [Trouble::Refused("fail"), Trouble::Unheard("fail")] {
        let ((idem, ledger), body) = (shaky(), Body::open());
        idem.scope(async {
            ledger.set(trouble);
            assert_trouble(fail(1, &body).await);
            assert_eq!(body.starts(), 1);
            ledger.set(Trouble::None);
            assert_eq!(
                fail(1, &body).await.unwrap_err().into_own(),
                "failure 3",
                "{trouble:?}"
            );
            assert!(matches!(
                fail(1, &body).await.unwrap_err().into_idem(),
                Error::DeadLettered { .. }
            ));
        })
        .await;
        assert_eq!(body.starts(), 3);
        let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
        let told: Vec<_> = letters[0]
            .attempts
            .iter()
            .filter_map(|past| past.error.as_deref())
            .collect();
        assert_eq!(
            (letters.len(), told),
            (1, vec!["failure 1", "failure 2", "failure 3"])
        );
    }
}

#[tokio::test]
async fn the_end_of_a_dropped_call_is_brought_once_there_is_room() {
    let ((idem, ledger), body) = (shaky(), Body::shut());
    idem.scope(async {
        let mut call = Box::pin(run(1, &body));
        body.holds(&mut call, 1).await;
        ledger.set(Trouble::Refused("fail"));
        drop(call);
        assert_trouble(soon(run(1, &body)).await);
        assert_eq!(body.starts(), 1);
        ledger.set(Trouble::None);
        body.let_go();
        assert_eq!(soon(run(1, &body)).await.unwrap(), 2);
    })
    .await;
}

#[idempotent(name = "trouble.once", key = "id", retries = 0, skip(body))]
async fn once(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn a_claim_that_could_not_be_given_back_is_given_back_later_and_was_no_attempt() {
    let ((idem, ledger), body) = (shaky(), Body::open());
    idem.scope(async {
        let mut call = Box::pin(once(1, &body));
        tokio::select! {
            biased;
            () = ledger.hold("claim") => {}
            _ = &mut call => unreachable!("its claim is held"),
        }
        ledger.set(Trouble::Refused("give back"));
        drop(call);
        ledger.let_go().await;
        assert_trouble(soon(once(1, &body)).await);
        assert_eq!(body.starts(), 0);
        ledger.set(Trouble::None);
        assert_eq!(soon(once(1, &body)).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_call_does_not_overtake_the_report_that_the_background_is_bringing() {
    let ((idem, ledger), body) = (shaky(), Body::open());
    idem.scope(async {
        ledger.set(Trouble::Refused("complete"));
        assert_trouble(run(1, &body).await);
        ledger.hold("complete").await;
        ledger.set(Trouble::None);
        let (result, ()) = soon(async { tokio::join!(run(1, &body), ledger.let_go()) }).await;
        assert_eq!(result.unwrap(), 1);
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[idempotent(
    name = "trouble.second",
    key = "id",
    retries = 5,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn second(id: u32, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        1 => Err(Oops::own("busy")),
        number => Ok(number),
    }
}

#[tokio::test]
async fn a_report_that_arrives_late_does_not_wipe_out_a_later_one() {
    let ((idem, ledger), body) = (shaky(), Body::open());
    idem.scope(async {
        ledger.set(Trouble::Refused("fail"));
        assert_trouble(second(1, &body).await);
        // The background is on its way with the first attempt's end …
        ledger.hold("fail").await;
        // … when the next call brings it itself, runs, and cannot record its own.
        ledger.set(Trouble::Refused("complete"));
        assert_trouble(soon(second(1, &body)).await);
        assert_eq!(body.starts(), 2);
        ledger.let_go().await;
        ledger.set(Trouble::None);
        assert_eq!(soon(second(1, &body)).await.unwrap(), 2);
    })
    .await;
    assert_eq!(
        body.starts(),
        2,
        "the second attempt's result was known, and it ran again"
    );
}

#[tokio::test]
async fn the_broker_keeps_what_the_ledger_does_not_take() {
    let ((idem, ledger), body) = (shaky(), Body::open());
    for step in ["claim", "complete"] {
        for trouble in [Trouble::Refused(step), Trouble::Unheard(step)] {
            ledger.set(trouble);
            let delivered = idem
                .deliver(Origin::new("rabbitmq", "orders"), run(1, &body))
                .await;
            assert_trouble(delivered.output);
            let verdict = delivered.verdict;
            assert!(
                matches!(verdict, Verdict::Unavailable { .. }),
                "{trouble:?}: {verdict:?}"
            );
        }
    }
    ledger.set(Trouble::None);
    let delivered = idem
        .deliver(Origin::new("rabbitmq", "orders"), run(1, &body))
        .await;
    assert_eq!(
        (delivered.output.unwrap(), delivered.verdict),
        (1, Verdict::Settled)
    );
}

#[tokio::test]
async fn a_message_that_could_not_be_buried_is_an_error_and_is_buried_once() {
    let (idem, ledger) = shaky();
    let bury = async || {
        idem.bury(
            "trouble.run",
            "m-1",
            b"junk",
            Origin::new("rabbitmq", "orders"),
            "junk",
        )
        .await
    };
    for trouble in [Trouble::Refused("bury"), Trouble::Unheard("bury")] {
        ledger.set(trouble);
        let error = bury().await.unwrap_err();
        assert!(
            matches!(&error, Error::Ledger { .. }) && format!("{error:#}").contains("no room left"),
            "{error:#}"
        );
    }
    ledger.set(Trouble::None);
    let id = bury().await.unwrap();
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(
        letters.iter().map(|letter| letter.id).collect::<Vec<_>>(),
        [id]
    );
}

#[tokio::test]
async fn what_cannot_be_re_armed_is_not_published() {
    let (idem, ledger) = shaky();
    idem.register_publisher("rabbitmq:orders", |_| async {
        unreachable!("it is still dead") as Result<(), String>
    });
    let origin = Origin::new("rabbitmq", "orders");
    let id = idem
        .bury("trouble.run", "m-1", b"junk", origin, "junk")
        .await
        .unwrap();
    ledger.set(Trouble::Refused("redrive"));
    let error = idem.dead_letters().republish(&id).await.unwrap_err();
    assert!(matches!(error, LetterError::Ledger { .. }), "{error}");
    assert_eq!(idem.dead_letters().count_open().await.unwrap(), 1);
}

fn event(key: &str) -> OutboxMessage {
    OutboxMessage::new("orders.placed", key, "{}").ordering_key("Ann")
}

#[tokio::test]
async fn a_message_whose_sending_failed_is_one_message_when_it_is_sent_again() {
    let (idem, ledger) = shaky();
    let outbox = idem.outbox();
    for (number, trouble) in [Trouble::Refused("notes"), Trouble::Unheard("notes")]
        .into_iter()
        .enumerate()
    {
        ledger.set(trouble);
        for _ in 0..2 {
            outbox.send(event("A")).await.unwrap_err();
        }
        ledger.set(Trouble::None);
        let id = outbox.send(event("A")).await.unwrap();
        let waiting = outbox.pending(None, 10).await.unwrap();
        assert_eq!(
            waiting.iter().map(|queued| &queued.id).collect::<Vec<_>>(),
            [&id],
            "{trouble:?}"
        );
        // Sent once more on purpose, it is another one.
        assert_ne!(outbox.send(event("A")).await.unwrap(), id);
        let waiting = outbox.pending(None, 10).await.unwrap();
        assert_eq!(waiting.len(), 2, "{number}");
        outbox.acknowledge(&waiting).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_that_went_out_before_it_was_sent_again_keeps_its_id() {
    let (idem, ledger) = shaky();
    let outbox = idem.outbox();
    ledger.set(Trouble::Unheard("notes"));
    outbox.send(event("A")).await.unwrap_err();
    ledger.set(Trouble::None);
    // A relay does so.
    let gone = outbox.pending(None, 10).await.unwrap();
    outbox.acknowledge(&gone).await.unwrap();
    // Another message is none of this.
    assert_ne!(outbox.send(event("B")).await.unwrap(), gone[0].id);
    assert_eq!(outbox.send(event("A")).await.unwrap(), gone[0].id);
}

#[idempotent(name = "shaky.tell", key = "id", skip(idem))]
async fn tell(id: &str, idem: &Idem) -> Result<(), Oops> {
    Ok(idem.outbox().enqueue(event(id))?)
}

#[tokio::test]
async fn a_result_that_is_recorded_late_is_not_found_behind_what_was_read() {
    let (idem, ledger) = shaky();
    let late = {
        let idem = idem.clone();
        tokio::spawn(async move { idem.scope(tell("late", &idem)).await })
    };
    ledger.hold("complete").await;
    idem.scope(tell("quick", &idem)).await.unwrap();
    let read = idem.outbox().pending(None, 10).await.unwrap();
    assert_eq!(
        read.iter()
            .map(|queued| &*queued.message.key)
            .collect::<Vec<_>>(),
        ["quick"]
    );
    ledger.let_go.send_replace(true);
    soon(late).await.unwrap().unwrap();
    let next = idem.outbox().pending(read.last(), 10).await.unwrap();
    assert_eq!(
        next.iter()
            .map(|queued| &*queued.message.key)
            .collect::<Vec<_>>(),
        ["late"]
    );
    let all = idem.outbox().pending(None, 10).await.unwrap();
    assert_eq!(all, [read, next].concat());
}

//! What a broker may do with a message after each way that its handler's calls can end.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on, temporary, temporary_with};
use idem_runtime::{Delivered, Error, Idem, Origin, Verdict, dead_letters::Reason, idempotent};
use serde::{Deserialize, Serialize};

use crate::common::{Body, Oops, on, only_letter, poll_once, soon};

const AT_ONCE: Verdict = Verdict::Again {
    after: Duration::ZERO,
};

fn origin() -> Origin {
    Origin::new("rabbitmq", "orders")
        .message_id("m-1")
        .header("trace", "00-4bf9")
}

async fn verdict<F: Future>(idem: &Idem, handler: F) -> Verdict {
    soon(idem.deliver(origin(), handler)).await.verdict
}

/// It comes again, but not at once.
#[track_caller]
fn assert_later(verdict: &Verdict) {
    assert!(
        matches!(verdict, Verdict::Again { after } if !after.is_zero()),
        "{verdict:?}"
    );
}

#[track_caller]
fn assert_refused(verdict: &Verdict, says: &str) {
    assert!(
        matches!(verdict, Verdict::Refused(refusal) if refusal.error.contains(says)),
        "{verdict:?}"
    );
}

#[idempotent(name = "deliveries.run", key = "id", retries = 0, skip(body))]
async fn run(id: &str, content: &str, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[idempotent(
    name = "deliveries.fail",
    key = "id",
    retries = 1,
    backoff(initial = "0ms")
)]
async fn fail(id: &str) -> Result<u32, Oops> {
    Err(Oops::own(format!("no {id}")))
}

#[tokio::test]
async fn a_result_and_its_replay_are_settled() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    for _ in 0..2 {
        let delivered = idem.deliver(origin(), run("A-1", "", &body)).await;
        assert_eq!(
            (delivered.output.unwrap(), delivered.verdict),
            (1, Verdict::Settled)
        );
    }
}

#[tokio::test]
async fn a_dead_letter_is_settled_for_the_call_that_died_and_for_its_duplicates() {
    let idem = temporary().unwrap();
    for _ in 0..2 {
        let Delivered {
            output, verdict, ..
        } = idem.deliver(origin(), fail("A-1")).await;
        assert!(output.is_err());
        assert_eq!(verdict, Verdict::Settled);
    }
    assert_eq!(only_letter(&idem).await.origin, Some(origin()));
}

#[idempotent(name = "deliveries.panic", key = "id", retries = 0)]
async fn panics(id: &str) -> Result<u32, Oops> {
    panic!("out of tea")
}

#[tokio::test]
async fn a_panic_that_became_a_letter_is_settled() {
    let idem = temporary().unwrap();
    assert_eq!(verdict(&idem, panics("A-1")).await, Verdict::Settled);
    assert_eq!(only_letter(&idem).await.origin, Some(origin()));
}

#[tokio::test]
async fn a_result_too_large_to_keep_is_settled_for_its_duplicates_too() {
    let (idem, body) = (
        temporary_with(Idem::builder().result_limit(0)).unwrap(),
        Body::open(),
    );
    assert_eq!(
        verdict(&idem, run("A-1", "", &body)).await,
        Verdict::Settled
    );
    let again = idem.deliver(origin(), run("A-1", "", &body)).await;
    assert!(matches!(
        again.output.unwrap_err().into_idem(),
        Error::ResultTooLarge { .. }
    ));
    assert_eq!(again.verdict, Verdict::Settled);
}

#[idempotent(name = "deliveries.unwritable", key = "id", retries = 0)]
async fn unwritable(id: &str) -> Result<HashMap<(u8, u8), u8>, Oops> {
    Ok(HashMap::from([((1, 2), 3)]))
}

#[tokio::test]
async fn a_result_that_is_no_json_happened_all_the_same() {
    let idem = temporary().unwrap();
    let delivered = idem.deliver(origin(), unwritable("A-1")).await;
    assert!(matches!(
        delivered.output.unwrap_err().into_idem(),
        Error::Codec { .. }
    ));
    assert_eq!(delivered.verdict, Verdict::Settled);
    assert_eq!(only_letter(&idem).await.reason, Reason::ResultNotStorable);
}

/// A result type that a deploy has changed, in a manner of speaking: its one is written as it is
/// not read.
#[derive(Debug, Serialize, Deserialize)]
struct Changed {
    #[serde(skip_serializing_if = "is_one")]
    is: u32,
}

fn is_one(is: &u32) -> bool {
    *is == 1
}

#[idempotent(name = "deliveries.changed", key = "is", retries = 0)]
async fn changed(is: u32) -> Result<Changed, Oops> {
    Ok(Changed { is })
}

#[tokio::test]
async fn a_recorded_result_that_no_longer_decodes_happened_all_the_same() {
    let idem = temporary().unwrap();
    assert_eq!(verdict(&idem, changed(0)).await, Verdict::Settled);
    assert_eq!(verdict(&idem, changed(1)).await, Verdict::Settled);
    let again = idem.deliver(origin(), changed(1)).await;
    assert!(matches!(
        again.output.unwrap_err().into_idem(),
        Error::Codec { .. }
    ));
    assert_eq!(again.verdict, Verdict::Settled);
}

#[idempotent(
    name = "deliveries.redelivered",
    key = "id",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "8s", factor = 1, max = "8s")
)]
async fn redelivered(id: &str, panic: bool) -> Result<u32, Oops> {
    assert!(!panic, "out of tea");
    Err(Oops::own("busy"))
}

#[tokio::test]
async fn with_redelivery_a_message_comes_again_when_its_pause_has_passed() {
    for panic in [false, true] {
        let clock = ManualClock::default();
        let idem = on(&clock);
        let seconds = |seconds| Verdict::Again {
            after: Duration::from_secs(seconds),
        };
        assert_eq!(verdict(&idem, redelivered("A-1", panic)).await, seconds(8));
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            verdict(&idem, redelivered("A-1", panic)).await,
            seconds(3),
            "it came too early"
        );
        clock.advance(Duration::from_secs(3));
        assert_eq!(
            verdict(&idem, redelivered("A-1", panic)).await,
            Verdict::Settled,
            "it was the last attempt"
        );
        assert_eq!(only_letter(&idem).await.origin, Some(origin()));
    }
}

#[idempotent(
    name = "deliveries.reject",
    key = "id",
    in_flight = "reject",
    skip(body)
)]
async fn reject(id: &str, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn a_message_in_work_elsewhere_comes_again_and_not_at_once() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let mut first = Box::pin(idem.scope(reject("A-1", &body)));
    body.holds(&mut first, 1).await;
    assert_later(&verdict(&idem, reject("A-1", &body)).await);
    body.let_go();
    assert_eq!(soon(first).await.unwrap(), 1);
}

#[tokio::test]
async fn a_closed_idem_gives_the_message_back() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.close().await.unwrap();
    let verdict = verdict(&idem, run("A-1", "", &body)).await;
    assert!(
        matches!(verdict, Verdict::Unavailable { .. }),
        "{verdict:?}"
    );
    assert_eq!(body.starts(), 0);
}

#[tokio::test]
async fn a_claim_that_passed_on_is_somebody_elses_to_settle() {
    let clock = ManualClock::default();
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let process = || {
        open_on(
            Idem::builder().clock(Arc::new(clock.clone())),
            ledger.clone(),
        )
        .unwrap()
    };
    let (one, other, body) = (process(), process(), Body::shut());
    let mut first = Box::pin(one.deliver(origin(), leased("A-1", &body)));
    body.holds(&mut first, 1).await;
    // Its renewals are asked for in the background, which has not seen the clock move yet.
    let mut second = Box::pin(other.deliver(origin(), leased("A-1", &body)));
    loop {
        clock.advance(Duration::from_secs(3600));
        if poll_once(second.as_mut()).await.is_some() || body.starts() == 2 {
            break;
        }
        tokio::task::yield_now().await;
    }
    body.let_go();
    assert_later(&soon(first).await.verdict);
    assert_eq!(soon(second).await.verdict, Verdict::Settled);
}

#[idempotent(name = "deliveries.leased", key = "id", lease = "1s", skip(body))]
async fn leased(id: &str, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_the_message_back() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let dropped = verdict(&idem, async {
        let mut call = Box::pin(run("A-1", "", &body));
        body.holds(&mut call, 1).await;
    });
    assert_eq!(dropped.await, AT_ONCE);
    // A call that was taken out of the delivery unfinished is not done either.
    let taken = soon(idem.deliver(origin(), async {
        let mut call = Box::pin(reject("A-2", &body));
        body.holds(&mut call, 2).await;
        Some(call)
    }))
    .await;
    assert_eq!(taken.verdict, AT_ONCE);
}

#[tokio::test]
async fn what_will_never_be_right_is_refused_and_leaves_nothing() {
    let (idem, body) = (
        temporary_with(Idem::builder().payload_limit(100)).unwrap(),
        Body::open(),
    );
    assert_refused(&verdict(&idem, run("", "", &body)).await, "is empty");
    assert_refused(
        &verdict(&idem, run(&"k".repeat(2000), "", &body)).await,
        "over the limit",
    );
    assert_refused(
        &verdict(&idem, run("A-1", &"x".repeat(100), &body)).await,
        "payload",
    );
    assert_refused(
        &verdict(&idem, no_json("A-1", HashMap::from([((1, 2), 3)]))).await,
        "arguments",
    );
    assert_eq!(body.starts(), 0);
    assert_eq!(
        verdict(&idem, run("A-1", "tea", &body)).await,
        Verdict::Settled
    );
    assert_refused(
        &verdict(&idem, run("A-1", "coffee", &body)).await,
        "another content",
    );
    assert_eq!(
        (
            body.starts(),
            idem.dead_letters().count_open().await.unwrap()
        ),
        (1, 0)
    );
}

#[idempotent(name = "deliveries.no_json", key = "id")]
async fn no_json(id: &str, odd: HashMap<(u8, u8), u8>) -> Result<u32, Oops> {
    Ok(1)
}

#[tokio::test]
async fn without_a_handler_nothing_is_known() {
    let idem = temporary().unwrap();
    assert_eq!(verdict(&idem, async {}).await, Verdict::Unknown);
    // A task that was spawned is outside the scope, and outside the delivery.
    let spawned = async {
        let error = tokio::spawn(fail("A-1"))
            .await
            .unwrap()
            .unwrap_err()
            .into_idem();
        assert!(matches!(error, Error::NotInstalled { .. }), "{error}");
    };
    assert_eq!(verdict(&idem, spawned).await, Verdict::Unknown);
}

#[idempotent(name = "deliveries.outer", key = "id", retries = 0)]
async fn outer(id: &str, fails: bool) -> Result<u32, Oops> {
    redelivered(id, false).await.unwrap_err().into_own();
    if fails { Err(Oops::own("no")) } else { Ok(7) }
}

#[tokio::test]
async fn a_call_inside_a_body_is_the_bodys_business() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let done = idem.deliver(origin(), outer("A-1", false)).await;
    assert_eq!((done.output.unwrap(), done.verdict), (7, Verdict::Settled));
    assert_eq!(verdict(&idem, outer("A-2", true)).await, Verdict::Settled);
    // Where the inner message came from is known all the same.
    clock.advance(Duration::from_secs(3600));
    idem.scope(redelivered("A-1", false)).await.unwrap_err();
    let letters = idem
        .dead_letters()
        .list(&idem_runtime::Filter::default().handler("deliveries.redelivered"))
        .await;
    assert_eq!(letters.unwrap()[0].origin, Some(origin()));
}

#[tokio::test]
async fn a_delivery_inside_a_body_counts_its_own_calls() {
    #[idempotent(name = "deliveries.consumer", key = "id", skip(idem))]
    async fn consumer(id: &str, idem: &Idem) -> Result<bool, Oops> {
        let delivered = Box::pin(idem.deliver(Origin::new("nats", "inner"), fail(id))).await;
        Ok(delivered.verdict == Verdict::Settled)
    }
    let idem = temporary().unwrap();
    let delivered = idem.deliver(origin(), consumer("A-1", &idem)).await;
    assert_eq!(
        (delivered.output.unwrap(), delivered.verdict),
        (true, Verdict::Settled)
    );
    assert_eq!(
        only_letter(&idem).await.origin,
        Some(Origin::new("nats", "inner"))
    );
}

#[tokio::test]
async fn of_several_calls_the_worst_counts() {
    let clock = ManualClock::default();
    let (idem, body) = (on(&clock), Body::open());
    let again = Verdict::Again {
        after: Duration::from_secs(8),
    };
    for (first, second, third) in [("done", "refused", "again"), ("again", "done", "refused")] {
        let call = async |what: &str| match what {
            "done" => drop(run("A-1", "", &body).await),
            "refused" => drop(run("", "", &body).await),
            _ => drop(redelivered(first, false).await),
        };
        let all = verdict(&idem, async {
            call(first).await;
            call(second).await;
            call(third).await;
        });
        assert_eq!(all.await, again, "{first}, {second}, {third}");
    }
    let two = verdict(&idem, async {
        run("", "", &body).await.unwrap_err();
        run("A-1", "", &body).await.unwrap();
    });
    assert_refused(&two.await, "is empty");
    let waits = verdict(&idem, async {
        redelivered("B", false).await.unwrap_err();
        clock.advance(Duration::from_secs(4));
        redelivered("C", false).await.unwrap_err();
        redelivered("B", false).await.unwrap_err();
    });
    assert_eq!(
        waits.await,
        again,
        "the longest pause is the one that counts"
    );
}

#[tokio::test]
async fn calls_at_once_count_each() {
    let clock = ManualClock::default();
    let (idem, body) = (on(&clock), Body::shut());
    let both = verdict(&idem, async {
        let (mut done, again) = (Box::pin(run("A-1", "", &body)), redelivered("A-2", false));
        body.holds(&mut done, 1).await;
        again.await.unwrap_err();
        body.let_go();
        done.await.unwrap();
    });
    assert_eq!(
        both.await,
        Verdict::Again {
            after: Duration::from_secs(8)
        }
    );
}

#[idempotent(name = "deliveries.sync", key = "id", retries = 0)]
fn sync(id: &str, fails: bool) -> Result<u32, Oops> {
    if fails { Err(Oops::own("no")) } else { Ok(1) }
}

#[tokio::test]
async fn a_sync_handler_counts_too() {
    let idem = temporary().unwrap();
    let delivered = idem.deliver(origin(), async { sync("A-1", false) }).await;
    assert_eq!(
        (delivered.output.unwrap(), delivered.verdict),
        (1, Verdict::Settled)
    );
    assert_refused(
        &verdict(&idem, async { drop(sync("", false)) }).await,
        "is empty",
    );
    let blocking = {
        let idem = Idem::clone(&idem);
        tokio::task::spawn_blocking(move || idem.sync_deliver(origin(), || sync("A-2", true)))
    };
    assert_eq!(soon(blocking).await.unwrap().verdict, Verdict::Settled);
    assert_eq!(only_letter(&idem).await.origin, Some(origin()));
}

#[tokio::test]
async fn a_call_outside_a_delivery_has_no_origin() {
    let idem = temporary().unwrap();
    assert_eq!(verdict(&idem, async {}).await, Verdict::Unknown);
    idem.scope(fail("A-1")).await.unwrap_err();
    let letter = only_letter(&idem).await;
    assert_eq!(letter.origin, None);
    assert_eq!(
        serde_json::to_value(&letter).unwrap()["origin"],
        serde_json::Value::Null
    );
}

/// A panic that is caught inside the delivery takes no verdict with it, as one outside would.
#[tokio::test]
async fn a_panic_after_the_call_leaves_what_the_call_came_to() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    for dies in [false, true] {
        let handler = AssertUnwindSafe(async {
            if dies {
                panics("A-1").await.unwrap();
            } else {
                run("A-1", "", &body).await.unwrap();
            }
            panic!("after the call");
        });
        let delivered = soon(idem.deliver(origin(), handler.catch_unwind())).await;
        assert!(delivered.output.is_err());
        assert_eq!(delivered.verdict, Verdict::Settled);
    }
    let sync = || catch_unwind(AssertUnwindSafe(|| sync("A-1", true).unwrap()));
    assert_eq!(idem.sync_deliver(origin(), sync).verdict, Verdict::Settled);
    let cut_off = async {
        let mut call = Box::pin(run("B-1", "", &body));
        let _ = poll_once(call.as_mut()).await;
        panic!("while the call is under way");
    };
    assert_eq!(
        verdict(&idem, AssertUnwindSafe(cut_off).catch_unwind()).await,
        AT_ONCE
    );
}

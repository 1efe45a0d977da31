//! Handlers without the attribute: closures run by the same protocol.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idem_runtime::clock::Clock;
use idem_runtime::dead_letters::{LetterError, Reason, RunOutcome};
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{
    Error, HandlerDef, Replayed, attempt, found_existing, idempotent, watch_replay,
};
use serde_json::json;

use crate::common::{Body, Oops, on, only_letter, soon};

fn once(name: &str) -> HandlerDef {
    HandlerDef::builder(name).retries(0).build().unwrap()
}

#[tokio::test]
async fn a_closure_runs_once_and_a_duplicate_learns_that_it_did_and_when() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let handler = once("closures.once");
    let starts = AtomicU32::new(0);
    let call = async || {
        let call = idem
            .call::<Oops>(&handler)
            .key("acme")
            .key("A-1")
            .payload(&2);
        watch_replay(call.run(async || Ok(starts.fetch_add(1, Ordering::SeqCst)))).await
    };
    let (first, replayed) = call().await;
    assert_eq!((first.unwrap(), replayed), (0, None));
    let recorded = clock.now();
    clock.advance(Duration::from_secs(90));
    let (again, replayed) = call().await;
    let Replayed {
        recorded_at, age, ..
    } = replayed.unwrap();
    assert_eq!((again.unwrap(), recorded_at), (0, recorded));
    assert_eq!(age, Duration::from_secs(90));
    assert_eq!(starts.into_inner(), 1);
}

#[tokio::test]
async fn a_call_that_waits_for_the_first_is_replayed_too() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let handler = once("closures.waits");
    let call = || {
        let call = idem.call::<Oops>(&handler).key("A-1").payload(&2);
        watch_replay(call.run(async || Ok(body.run().await)))
    };
    let ((first, ran), (second, replayed), ()) = soon(async {
        tokio::join!(call(), call(), async {
            body.started(1).await;
            body.let_go();
        })
    })
    .await;
    assert!(ran.is_none() && replayed.is_some());
    assert_eq!(first.unwrap(), second.unwrap());
}

#[tokio::test]
async fn what_a_body_calls_is_no_replay_of_its_caller() {
    let idem = temporary().unwrap();
    let (outer, inner) = (once("closures.outer"), once("closures.inner"));
    let pay = || idem.run(&inner, "P-1", &1, async || Ok::<_, Oops>(1));
    pay().await.unwrap();
    let place = idem.run(&outer, "A-1", &1, pay);
    let (placed, replayed) = watch_replay(place).await;
    assert!(placed.unwrap() == 1 && replayed.is_none());
    let (paid, replayed) = watch_replay(pay()).await;
    assert!(paid.unwrap() == 1 && replayed.is_some());
}

#[tokio::test]
async fn a_panic_before_the_future_is_a_failed_attempt() {
    let idem = temporary().unwrap();
    let handler = once("closures.panics");
    let run = idem.run(
        &handler,
        "A-1",
        &1,
        || -> std::future::Ready<Result<u32, Error>> { panic!("on the way") },
    );
    let error = run.await.unwrap_err();
    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
    assert_eq!(
        only_letter(&idem).await.attempts[0].error.as_deref(),
        Some("on the way")
    );
}

#[tokio::test]
async fn a_spent_budget_is_a_letter_and_the_letter_runs_where_the_closure_is_registered() {
    let idem = temporary().unwrap();
    let handler = HandlerDef::builder("closures.spent")
        .retries(1)
        .redeliver()
        .backoff(Duration::ZERO, 1.0, Duration::ZERO, false)
        .redact(["card_no"])
        .build()
        .unwrap();
    let order = json!({"qty": 12, "card_no": "4111"});
    let fails = || {
        idem.run(&handler, "A-1", &order, async || {
            Err::<u32, _>(Oops::own("sold out"))
        })
    };
    for _ in 0..2 {
        assert_eq!(fails().await.unwrap_err().into_own(), "sold out");
    }
    let error = fails().await.unwrap_err().into_idem();
    assert!(matches!(error, Error::DeadLettered { .. }), "{error:?}");
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.reason, letter.attempts.len()),
        (Reason::BudgetSpent, 2)
    );
    assert_eq!(
        letter.payload,
        json!({"payload": {"qty": 12, "card_no": "[redacted]"}}).into()
    );

    let letters = idem.dead_letters().by("ann");
    let error = letters
        .run_with(&letter.id, json!({"payload": order}), "again")
        .await;
    assert!(
        matches!(error, Err(LetterError::NoHandler { .. })),
        "{error:?}"
    );
    idem.register_handler(
        "closures.spent",
        move |order: serde_json::Value| async move {
            let call = handler.call::<Oops>().key("A-1").payload(&order);
            call.run(async || Ok(7)).await
        },
    );
    let ran = letters
        .run_with(&letter.id, json!({"payload": order}), "again")
        .await
        .unwrap();
    assert_eq!(ran, RunOutcome::Done(7.into()));
}

#[tokio::test]
async fn an_error_decides_whether_there_is_a_retry() {
    let idem = temporary().unwrap();
    let handler = HandlerDef::builder("closures.judged").build().unwrap();
    let call = idem.call::<Oops>(&handler).key("A-1").payload(&2);
    let result = call
        .retry_if(|_| false)
        .run(async || Err::<u32, _>(Oops::own("never")))
        .await;
    assert_eq!(result.unwrap_err().into_own(), "never");
    assert_eq!(only_letter(&idem).await.reason, Reason::PermanentError);
}

/// Without retries, `backoff` is the pause after an outage.
#[tokio::test]
async fn an_outage_costs_nothing_where_there_are_no_retries() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let second = Duration::from_secs(1);
    let handler = HandlerDef::builder("closures.outage")
        .retries(0)
        .redeliver()
        .backoff(second, 1.0, second, false)
        .build()
        .unwrap();
    let call = async |result: Result<(), Oops>| {
        let call = idem.call::<Oops>(&handler).key("A-1").payload(&2);
        let call = call.outage(|error| error.to_string() == "away");
        let result = Mutex::new(Some(result));
        call.run(async || result.lock().unwrap().take().unwrap())
            .await
    };
    for _ in 0..3 {
        let away = call(Err(Oops::own("away"))).await.unwrap_err();
        assert_eq!(away.into_own(), "away");
        let early = call(Ok(())).await.unwrap_err().into_idem();
        assert!(matches!(early, Error::NotYet { .. }), "{early:?}");
        clock.advance(second);
    }
    call(Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_released_key_is_as_it_was() {
    let clock = ManualClock::default();
    let idem = on(&clock);
    let handler = HandlerDef::builder("closures.released")
        .retries(1)
        .redeliver()
        .build()
        .unwrap();
    let call = async |payload: u32, result: Result<u32, Oops>| {
        let result = Mutex::new(Some(result));
        let call = idem.call::<Oops>(&handler).key("A-1").payload(&payload);
        let call = call.release_if(|error| error.to_string() == "not now");
        call.run(async || {
            result
                .lock()
                .unwrap()
                .take()
                .unwrap()
                .map(|_| attempt().unwrap().number)
        })
        .await
    };
    for payload in 0..5 {
        let error = call(payload, Err(Oops::own("not now"))).await.unwrap_err();
        assert_eq!(error.into_own(), "not now");
    }
    // One failed attempt; a release after it costs nothing and keeps what was counted.
    call(9, Err(Oops::own("broken"))).await.unwrap_err();
    clock.advance(Duration::from_secs(60));
    call(9, Err(Oops::own("not now"))).await.unwrap_err();
    assert_eq!(call(9, Ok(0)).await.unwrap(), 2);
}

#[tokio::test]
async fn what_the_body_found_and_what_it_sends_is_recorded() {
    let idem = temporary().unwrap();
    let handler = once("closures.outbox");
    let call = idem.run(&handler, "A-1", &2, async || {
        found_existing();
        idem.outbox()
            .enqueue(OutboxMessage::new("mails", "A-1", "placed"))?;
        Ok::<_, Error>(200)
    });
    assert_eq!(call.await.unwrap(), 200);
    assert_eq!(idem.outbox().pending(None, 10).await.unwrap().len(), 1);
}

#[test]
fn a_sync_closure_runs_by_the_same_protocol() {
    let idem = temporary().unwrap();
    let handler = once("closures.sync");
    let starts = AtomicU32::new(0);
    for _ in 0..2 {
        let call = idem.call::<Oops>(&handler).key("A-1").payload(&2);
        call.run_blocking(|| Ok(starts.fetch_add(1, Ordering::SeqCst)))
            .unwrap();
    }
    assert_eq!(starts.into_inner(), 1);
}

#[tokio::test]
async fn a_call_can_be_spawned() {
    let (idem, handler) = (Arc::new(temporary().unwrap()), once("closures.spawned"));
    let text = String::from("done");
    let spawned = tokio::spawn(async move {
        let run = async || {
            tokio::task::yield_now().await;
            Ok::<_, Oops>(text.clone())
        };
        idem.run(&handler, "A-1", &2, run).await
    });
    assert_eq!(spawned.await.unwrap().unwrap(), "done");
}

#[tokio::test]
async fn a_name_has_one_handler_whichever_way_it_is_defined() {
    #[idempotent(name = "closures.taken", key = "id")]
    async fn taken(id: u32) -> Result<u32, Error> {
        Ok(id)
    }
    let idem = temporary().unwrap();
    idem.scope(taken(1)).await.unwrap();
    let error = idem
        .run(&once("closures.taken"), &1, &1, async || Ok::<_, Error>(1))
        .await
        .unwrap_err();
    let Error::NameTaken { first, second, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(
        first.contains("closures.rs") && second.contains("closures.rs"),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_without_a_key_or_with_another_payload_is_refused() {
    let idem = temporary().unwrap();
    let handler = once("closures.refused");
    let keyless = idem
        .call::<Error>(&handler)
        .payload(&1)
        .run(async || Ok(1))
        .await;
    assert!(
        matches!(keyless, Err(Error::InvalidKey { .. })),
        "{keyless:?}"
    );
    let run = async |payload: u32, part: u32| {
        let call = idem.call::<Error>(&handler).key("A-1").payload(&payload);
        call.fingerprint(&part).run(async || Ok(1)).await
    };
    run(1, 1).await.unwrap();
    run(2, 1).await.unwrap();
    let reused = run(1, 2).await;
    assert!(matches!(reused, Err(Error::KeyReused { .. })), "{reused:?}");
}

#[test]
fn options_that_do_not_go_together_are_refused_with_the_reason() {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    let new = || HandlerDef::builder("closures.wrong");
    for (builder, reason) in [
        (HandlerDef::builder(""), "name is empty"),
        (new().was(["closures.wrong"]), "`was`"),
        (new().issued(""), "`issued`"),
        (new().redact(["card..no"]), "card..no"),
        (new().timeout(Duration::ZERO), "`timeout`"),
        (new().ttl(Duration::MAX), "`ttl`"),
        (new().timeout(hour).ttl(hour), "`ttl`"),
        (new().lease_max(second), "`lease_max`"),
        (new().lease_max(hour).timeout(2 * hour), "`timeout`"),
        (new().backoff(second, 0.5, second, false), "factor"),
        (new().backoff(hour, 2.0, second, false), "longest"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let endless = new()
        .retries(u32::MAX)
        .backoff(Duration::ZERO, 2.0, Duration::ZERO, false);
    endless.build().unwrap();
}

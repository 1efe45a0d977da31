//! Of all the calls of one message at one time, one runs and the others get what it got.

use std::sync::Arc;

use futures_util::future::{join, join_all};
use idem_runtime::testing::temporary;
use idem_runtime::{Error, Idem, idempotent};

use crate::common::{Body, Oops, on_a_thread, poll_once, soon};

#[idempotent(name = "flight.run", key = "id", skip(body))]
async fn run(id: u32, note: &str, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_duplicates_on_many_threads_run_the_body_once_and_all_get_one_result() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (scope, body) = (Idem::clone(&idem), Arc::clone(&body));
            tokio::spawn(async move { scope.scope(run(1, "same", &body)).await })
        })
        .collect();
    body.started(1).await;
    body.let_go();
    for result in soon(join_all(calls)).await {
        assert_eq!(result.unwrap().unwrap(), 1);
    }
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn duplicates_that_came_while_the_first_ran_get_its_result() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.scope(async {
        let mut calls: Vec<_> = (0..50).map(|_| Box::pin(run(1, "same", &body))).collect();
        while body.starts() == 0 {
            assert!(poll_once(calls[0].as_mut()).await.is_none());
            tokio::task::yield_now().await;
        }
        for call in &mut calls[1..] {
            assert!(poll_once(call.as_mut()).await.is_none());
        }
        body.let_go();
        for result in soon(join_all(calls)).await {
            assert_eq!(result.unwrap(), 1);
        }
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn another_payload_under_the_key_of_a_running_message_is_refused_at_once() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.scope(async {
        let mut first = Box::pin(run(1, "one", &body));
        body.holds(&mut first, 1).await;
        // The first is not polled meanwhile, so waiting for it would never end.
        let error = soon(run(1, "other", &body)).await.unwrap_err().into_idem();
        assert!(
            matches!(&error, Error::KeyReused { key, .. } if key == "1"),
            "{error:?}"
        );
        body.let_go();
        assert_eq!(soon(first).await.unwrap(), 1);
    })
    .await;
}

#[idempotent(
    name = "flight.again",
    key = "id",
    retry = "redeliver",
    retries = 1,
    backoff(initial = "0s"),
    skip(fails)
)]
async fn again(id: u32, note: &str, fails: bool) -> Result<u32, Oops> {
    if fails {
        return Err(Oops::Own(note.to_owned()));
    }
    Ok(id)
}

/// The other payload leads, and has not been told yet that the key is not its own.
#[tokio::test]
async fn a_message_is_not_refused_for_a_call_that_does_not_have_its_key() {
    let idem = temporary().unwrap();
    let race = async {
        for id in 0.. {
            let failed = again(id, "one", true).await.unwrap_err();
            assert!(matches!(failed, Oops::Own(_)), "{failed:?}");
            let mut other = Box::pin(again(id, "other", false));
            // The ledger may be faster than this thread: then nothing has waited behind it.
            let Some(told) = poll_once(other.as_mut()).await else {
                let (other, one) = join(other, again(id, "one", false)).await;
                assert_eq!(one.unwrap(), id);
                return other;
            };
            let error = told.unwrap_err().into_idem();
            assert!(matches!(error, Error::KeyReused { .. }), "{error:?}");
        }
        unreachable!("there are enough numbers")
    };
    let error = soon(idem.scope(race)).await.unwrap_err().into_idem();
    assert!(matches!(error, Error::KeyReused { .. }), "{error:?}");
}

#[tokio::test]
async fn other_keys_do_not_wait() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let other = Body::open();
    idem.scope(async {
        let mut first = Box::pin(run(1, "", &body));
        body.holds(&mut first, 1).await;
        assert_eq!(soon(run(2, "", &other)).await.unwrap(), 1);
        assert_eq!(
            soon(reject(1, "", &other)).await.unwrap(),
            2,
            "another handler's key is another message"
        );
        body.let_go();
        soon(first).await.unwrap();
    })
    .await;
}

#[idempotent(name = "flight.reject", key = "id", in_flight = "reject", skip(body))]
async fn reject(id: u32, note: &str, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[tokio::test]
async fn a_handler_that_rejects_duplicates_says_in_progress() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    idem.scope(async {
        let mut first = Box::pin(reject(1, "one", &body));
        body.holds(&mut first, 1).await;
        let error = soon(reject(1, "one", &body)).await.unwrap_err().into_idem();
        assert!(
            matches!(&error, Error::InProgress { handler, key } if handler == "flight.reject" && key == "1"),
            "{error:?}"
        );
        let error = soon(reject(1, "other", &body)).await.unwrap_err().into_idem();
        assert!(matches!(error, Error::KeyReused { .. }), "another payload is looked at first: {error:?}");
        body.let_go();
        assert_eq!(soon(first).await.unwrap(), 1);
        assert_eq!(reject(1, "one", &body).await.unwrap(), 1, "afterwards it is a replay");
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[idempotent(name = "flight.itself", key = "id", retries = 0)]
async fn itself(id: u32, depth: u32) -> Result<String, Error> {
    Ok(match Box::pin(itself(id, depth)).await {
        Err(Error::InProgress { key, .. }) => format!("in progress: {key}"),
        other => format!("{other:?}"),
    })
}

#[tokio::test]
async fn a_body_that_calls_its_own_key_is_told_in_progress() {
    let idem = temporary().unwrap();
    assert_eq!(
        idem.scope(soon(itself(7, 0))).await.unwrap(),
        "in progress: 7"
    );
}

#[idempotent(name = "flight.outer", key = "id", retries = 0)]
async fn outer(id: u32) -> Result<String, Error> {
    inner(id).await
}

#[idempotent(name = "flight.inner", key = "id", retries = 0)]
async fn inner(id: u32) -> Result<String, Error> {
    Ok(match Box::pin(outer(id)).await {
        Err(Error::InProgress { handler, .. }) => format!("in progress: {handler}"),
        other => format!("{other:?}"),
    })
}

#[tokio::test]
async fn a_body_that_calls_its_own_key_through_another_handler_is_told_in_progress() {
    let idem = temporary().unwrap();
    idem.scope(async {
        assert_eq!(soon(outer(1)).await.unwrap(), "in progress: flight.outer");
        // The inner one is done, and on its own terms.
        assert_eq!(soon(inner(1)).await.unwrap(), "in progress: flight.outer");
    })
    .await;
}

#[idempotent(name = "flight.countdown", key = n, retries = 0)]
async fn countdown(n: u32) -> Result<u32, Error> {
    Ok(if n == 0 {
        0
    } else {
        Box::pin(countdown(n - 1)).await? + 1
    })
}

#[tokio::test]
async fn a_body_may_call_its_handler_with_another_key() {
    let idem = temporary().unwrap();
    assert_eq!(idem.scope(soon(countdown(20))).await.unwrap(), 20);
}

#[idempotent(name = "flight.itself_now", key = "id", retries = 0)]
fn itself_now(id: u32) -> Result<String, Error> {
    Ok(match itself_now(id) {
        Err(Error::InProgress { key, .. }) => format!("in progress: {key}"),
        other => format!("{other:?}"),
    })
}

#[test]
fn a_sync_body_that_calls_its_own_key_is_told_in_progress() {
    let result = on_a_thread(|| temporary().unwrap().sync_scope(|| itself_now(7)));
    assert_eq!(result.unwrap(), "in progress: 7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_body_on_a_runtime_that_calls_its_own_key_is_told_in_progress() {
    let idem = temporary().unwrap();
    assert_eq!(
        idem.scope(async { itself_now(7) }).await.unwrap(),
        "in progress: 7"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_messages_at_once_run_once_each() {
    let idem = temporary().unwrap();
    let bodies: Vec<_> = (0..1000).map(|_| Body::open()).collect();
    let calls = (0..3000_usize).map(|n| {
        let (scope, body, key) = (
            Idem::clone(&idem),
            Arc::clone(&bodies[n % 1000]),
            (n % 1000) as u32,
        );
        tokio::spawn(async move { scope.scope(run(key, "", &body)).await })
    });
    for result in soon(join_all(calls)).await {
        assert_eq!(result.unwrap().unwrap(), 1);
    }
    assert!(bodies.iter().all(|body| body.starts() == 1));
}

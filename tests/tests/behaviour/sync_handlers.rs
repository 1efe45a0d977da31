//! A handler that is no `async fn` blocks, on whatever thread it is called, and ends all the same.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{Error, Idem, attempt, idempotent};

use crate::common::{Body, Log, Oops, on, on_a_thread, only_letter, soon};

#[idempotent(name = "sync.run", key = "id", skip(body))]
fn run(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run_now())
}

#[test]
fn without_any_runtime() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.sync_scope(|| {
        assert_eq!(run(1, &body).unwrap(), 1);
        assert_eq!(run(1, &body).unwrap(), 1);
    });
}

#[test]
fn many_threads_run_the_body_once_and_all_get_one_result() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    std::thread::scope(|threads| {
        let calls: Vec<_> = (0..20)
            .map(|_| threads.spawn(|| idem.sync_scope(|| run(1, &body))))
            .collect();
        pollster::block_on(async {
            let mut starts = 0;
            while starts == 0 {
                starts = body.starts();
                std::thread::yield_now();
            }
        });
        body.let_go();
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap(), 1);
        }
    });
    assert_eq!(body.starts(), 1);
}

async fn on_blocking_threads(idem: &Idem, body: &Arc<Body>) {
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let (idem, body) = (idem.clone(), Arc::clone(body));
            tokio::task::spawn_blocking(move || idem.sync_scope(|| run(1, &body)))
        })
        .collect();
    body.started(1).await;
    body.let_go();
    for call in calls {
        assert_eq!(soon(call).await.unwrap().unwrap(), 1);
    }
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn on_blocking_threads_of_a_current_thread_runtime() {
    on_blocking_threads(&temporary().unwrap(), &Body::shut()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_blocking_threads_of_a_multi_thread_runtime() {
    on_blocking_threads(&temporary().unwrap(), &Body::shut()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_workers_of_a_runtime_with_more_duplicates_than_workers() {
    let (idem, body) = (temporary().unwrap(), Body::shut());
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let (idem, body) = (Idem::clone(&idem), Arc::clone(&body));
            tokio::spawn(async move { idem.scope(async { run(1, &body) }).await })
        })
        .collect();
    body.started(1).await;
    body.let_go();
    for call in calls {
        assert_eq!(soon(call).await.unwrap().unwrap(), 1);
    }
    assert_eq!(body.starts(), 1);
}

#[test]
fn on_the_only_thread_of_a_runtime_one_after_the_other() {
    on_a_thread(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (idem, body) = (temporary().unwrap(), Body::open());
            idem.scope(async {
                assert_eq!(run(1, &body).unwrap(), 1);
                assert_eq!(run(1, &body).unwrap(), 1);
            })
            .await;
        });
    });
}

#[idempotent(
    name = "sync.retries",
    key = "id",
    retries = 2,
    backoff(initial = "1h", max = "1h"),
    skip(body, numbers)
)]
fn retries(id: u32, body: &Body, numbers: &Log<u32>) -> Result<u32, Oops> {
    numbers.push(attempt().unwrap().number);
    Err(Oops::own(format!("failure {}", body.start())))
}

#[tokio::test]
async fn its_retries_are_counted_and_paused_like_others() {
    let (clock, body, numbers) = (
        ManualClock::default(),
        Body::open(),
        Arc::new(Log::default()),
    );
    let idem = on(&clock);
    let call = {
        let (idem, body, numbers) = (Idem::clone(&idem), Arc::clone(&body), Arc::clone(&numbers));
        tokio::task::spawn_blocking(move || idem.sync_scope(|| retries(1, &body, &numbers)))
    };
    for number in 1..=2 {
        body.started(number).await;
        soon(clock.asleep(1)).await;
        assert_eq!(body.starts(), number);
        clock.advance(Duration::from_secs(3600));
        body.started(number + 1).await;
    }
    assert_eq!(
        soon(call).await.unwrap().unwrap_err().into_own(),
        "failure 3"
    );
    assert_eq!(numbers.take(), [1, 2, 3]);
    assert_eq!(only_letter(&idem).await.attempts.len(), 3);
}

#[idempotent(name = "sync.shared", key = "id", skip(body))]
async fn shared(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[idempotent(name = "sync.blocks", key = "id", retries = 0, skip(body))]
fn blocks(id: u32, body: &Body) -> Result<String, Oops> {
    Ok(match pollster::block_on(shared(id, body)) {
        Err(Oops::Idem(Error::InProgress { handler, .. })) => format!("in progress: {handler}"),
        other => format!("{other:?}"),
    })
}

#[test]
fn a_sync_body_that_waits_for_an_async_duplicate_on_the_only_thread_is_told_in_progress() {
    let result = on_a_thread(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (idem, body) = (temporary().unwrap(), Body::shut());
            idem.scope(async {
                let mut first = Box::pin(shared(1, &body));
                body.holds(&mut first, 1).await;
                // Nothing but this thread can bring the first one on.
                let result = blocks(1, &body);
                body.let_go();
                assert_eq!(soon(first).await.unwrap(), 1);
                result
            })
            .await
        })
    });
    assert_eq!(result.unwrap(), "in progress: sync.shared");
}

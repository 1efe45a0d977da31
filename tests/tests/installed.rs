//! The default of a process: one test, because there is one process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by panicking"
)]

use idem_runtime::testing::temporary;
use idem_runtime::{Error, Idem, idempotent};

static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

#[idempotent(name = "installed.run", key = "id")]
async fn run(id: u32) -> Result<u32, Error> {
    Ok(RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)
}

#[idempotent(name = "installed.run_now", key = "id")]
fn run_now(id: u32) -> Result<u32, Error> {
    Ok(RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installed_idem_serves_every_task_and_thread_without_a_scope() {
    assert!(matches!(run(1).await, Err(Error::NotInstalled { .. })));
    let (default, scoped) = (temporary().unwrap(), temporary().unwrap());
    default.install().unwrap();

    assert_eq!(run(1).await.unwrap(), 1);
    assert_eq!(tokio::spawn(run(1)).await.unwrap().unwrap(), 1);
    assert_eq!(
        tokio::task::spawn_blocking(|| run_now(1))
            .await
            .unwrap()
            .unwrap(),
        2
    );
    assert_eq!(
        std::thread::spawn(|| run_now(1)).join().unwrap().unwrap(),
        2
    );

    // A scope wins, and only inside it.
    assert_eq!(scoped.scope(run(1)).await.unwrap(), 3);
    assert_eq!(run(1).await.unwrap(), 1);
    scoped
        .scope(async {
            assert_eq!(
                tokio::spawn(run(1)).await.unwrap().unwrap(),
                1,
                "a spawned task is outside of it"
            );
        })
        .await;

    // There is one default, and it stays.
    for again in [&*scoped, &*default] {
        assert!(matches!(Idem::install(again), Err(Error::AlreadyInstalled)));
    }
    assert_eq!(run(1).await.unwrap(), 1);

    default.close().await.unwrap();
    assert!(matches!(run(1).await, Err(Error::Closed { .. })));
    assert_eq!(scoped.scope(run(1)).await.unwrap(), 3);
}

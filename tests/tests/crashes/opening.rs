//! Crashes outside of calls: while the ledger opens, sweeps, and goes on without its witness.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::join_all;
use idem_crashtest::{FAILPOINTS, Process, Walk};
use idem_runtime::dead_letters::Reason;
use idem_runtime::testing::ManualClock;
use idem_runtime::{Error, Filter, Idem, idempotent};

use super::handlers::*;
use super::invariants::{crashed_at, hold, ordinary};

/// A result in chunks, a small one, and a letter.
#[tokio::main]
async fn prepare_all_kinds(data: &Path) {
    let idem = Idem::open(data).unwrap();
    idem.scope(async {
        large("A".into(), "y".repeat(9000)).await.unwrap();
        good("A".into()).await.unwrap();
        refused("A".into()).await.unwrap_err();
    })
    .await;
    idem.close().await.unwrap();
}

#[test]
fn a_ledger_without_its_witness_goes_on_with_what_is_left() {
    let walk = Walk::new().prepare(prepare_all_kinds).in_a_row(2);
    let runs = walk.everywhere(async |process: Process| {
        told(
            &process,
            "unwitnessed",
            "A",
            unwitnessed("A".into(), process.clone()),
        )
        .await;
        told(&process, "refused", "A", refused("A".into())).await;
        assert_eq!(
            large("A".into(), "y".repeat(9000)).await?,
            "y".repeat(18_000)
        );
        assert_eq!(good("A".into()).await?, 1);
        Ok::<(), Oops>(())
    });
    hold(&runs);
    assert_eq!(crashed_at(&runs), FAILPOINTS.iter().copied().collect());
    for run in &runs {
        assert_eq!(
            run.result("unwitnessed", "A"),
            Some("A".to_owned()),
            "{run}"
        );
        assert_eq!(
            run.starts("large", "A") + run.starts("good", "A") + run.starts("refused", "A"),
            0,
            "{run}"
        );
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The time in the process that crashes: long after the folder was prepared.
static LATER: LazyLock<ManualClock> = LazyLock::new(|| {
    let clock = ManualClock::default();
    clock.advance(2 * HOUR);
    clock
});

#[idempotent(name = "hourly", key = "key", ttl = "1h")]
async fn hourly(key: u32) -> Result<u32, Oops> {
    Ok(key)
}

#[idempotent(name = "left", key = "key", ttl = "1h", retry = "redeliver")]
async fn left(key: u32) -> Result<u32, Oops> {
    Err(Oops::Own("come again"))
}

/// More expiring results than one sweep's piece, one result that stays, an open letter, a message
/// that is never redelivered, and a closed bucket.
#[tokio::main]
async fn prepare_what_expires(data: &Path) {
    let clock = ManualClock::default();
    let idem = Idem::builder()
        .clock(Arc::new(clock.clone()))
        .open(data)
        .unwrap();
    idem.scope(async {
        for result in join_all((0..1100).map(hourly)).await {
            result.unwrap();
        }
        good("A".into()).await.unwrap();
        refused("A".into()).await.unwrap_err();
        left(1).await.unwrap_err();
        clock.advance(HOUR / 2);
        hourly(1100).await.unwrap();
    })
    .await;
    idem.close().await.unwrap();
}

#[test]
fn what_expires_goes_and_the_rest_stays() {
    let builder = || Idem::builder().clock(Arc::new(LATER.clone()));
    let runs = Walk::new()
        .builder(builder)
        .prepare(prepare_what_expires)
        .everywhere(async |process: Process| {
            process.sweep().await?;
            told(&process, "good", "A", good("A".into())).await;
            told(&process, "refused", "A", refused("A".into())).await;
            told(&process, "hourly", "7", hourly(7)).await;
            // Its bucket is closed, and the next one opened.
            LATER.advance(HOUR / 2);
            told(&process, "hourly", "8", hourly(8)).await;
            let letters = process.dead_letters().list(&Filter::default()).await?;
            assert_eq!(letters.len(), 2, "{letters:?}");
            Ok::<(), Error>(())
        });
    hold(&runs);
    assert_eq!(crashed_at(&runs), ordinary());
    for run in &runs {
        assert_eq!(
            (run.starts("good", "A"), run.starts("refused", "A")),
            (0, 0),
            "{run}"
        );
        assert!(
            (1..=2).contains(&run.starts("hourly", "7")),
            "it had expired: {run}"
        );
        let abandoned: Vec<_> = run
            .open_letters("left", "1")
            .map(|letter| letter.reason)
            .collect();
        assert_eq!(abandoned, [Reason::Abandoned], "{run}");
    }
}

//! A sync that fails, and a committer that dies: everybody is told, nobody waits for ever, and what
//! was answered stays.

use std::sync::Arc;
use std::time::Duration;

use fail::FailScenario;
use futures_util::future::{join_all, poll_immediate};
use idem_runtime::ledger::SledLedger;
use idem_runtime::protocol::{RecordId, Reply, Step};
use idem_runtime::testing::ManualClock;
use idem_runtime::{Error, Filter, Idem, Ledger, idempotent, ledger::LedgerError};

use crate::{Oops, Starts, copy, soon};

#[idempotent(name = "faults.double", key = "number", retries = 3, skip(starts))]
async fn double(number: u32, starts: &Starts) -> Result<u32, Oops> {
    starts.add();
    // Others come in between, so that claims and results share their groups.
    tokio::task::yield_now().await;
    Ok(number * 2)
}

const BEFORE: u32 = 40;
const ALL: u32 = 120;

/// Breaks a ledger at a place; what it answered has to be there in a copy of its folder, as after a
/// restart.
async fn breaks(point: &str, action: &str) {
    let scenario = FailScenario::setup();
    let (folder, starts) = (tempfile::tempdir().unwrap(), Starts::default());
    let idem = Idem::open(folder.path()).unwrap();
    for answer in join_all((0..BEFORE).map(|number| idem.scope(double(number, &starts)))).await {
        answer.unwrap();
    }
    fail::cfg(point, action).unwrap();
    let calls = (0..ALL).map(|number| idem.scope(double(number, &starts)));
    let answers = soon(join_all(calls)).await;
    let broken = answers.iter().filter(|answer| is_trouble(answer)).count();
    assert!(broken > 0, "{point}: no call returned an error");
    assert!(
        answers
            .iter()
            .all(|answer| answer.is_ok() || is_trouble(answer)),
        "{point}: {answers:?}"
    );
    fail::remove(point);
    // That the fault has gone changes nothing: only a new start helps.
    let started = starts.count();
    let later = soon(join_all(
        (ALL..ALL + 40).map(|number| idem.scope(double(number, &starts))),
    ))
    .await;
    assert!(later.iter().all(is_trouble), "{point}: {later:?}");
    assert_eq!(
        starts.count(),
        started,
        "{point}: a body started without a durable claim"
    );
    assert!(
        soon(idem.dead_letters().list(&Filter::default()))
            .await
            .is_err(),
        "{point}: letters are listed"
    );
    assert!(soon(idem.sweep()).await.is_err(), "{point}: it is swept");
    // It ends, whatever it says.
    let _ = soon(idem.close()).await;
    drop(idem);

    let again = tempfile::tempdir().unwrap();
    copy(folder.path(), again.path());
    let idem = Idem::open(again.path()).unwrap();
    let known: Vec<u32> = (0..ALL)
        .filter(|number| answers[*number as usize].is_ok())
        .collect();
    let before = starts.count();
    for answer in known
        .iter()
        .map(|number| (number, idem.scope(double(*number, &starts))))
    {
        assert_eq!(answer.1.await.unwrap(), answer.0 * 2, "{point}");
    }
    assert_eq!(
        starts.count(),
        before,
        "{point}: what was answered ran again"
    );
    for answer in join_all((0..ALL).map(|number| idem.scope(double(number, &starts)))).await {
        answer.unwrap();
    }
    drop(scenario);
}

fn is_trouble(answer: &Result<u32, Oops>) -> bool {
    matches!(
        answer,
        Err(Oops::Idem(Error::Ledger {
            source: LedgerError::Poisoned { .. } | LedgerError::Closed,
            ..
        }))
    )
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_answered_until_the_process_starts_again() {
    breaks("idem::sync", "1*return").await;
}

#[tokio::test]
async fn a_sync_that_fails_in_the_midst_of_many_groups() {
    breaks("idem::sync", "1*off->1*return").await;
}

#[tokio::test]
async fn the_committer_dies_before_it_writes() {
    breaks("idem::decided", "1*panic").await;
}

#[tokio::test]
async fn the_committer_dies_between_sleds_memory_and_the_system() {
    breaks("idem::applied", "1*panic").await;
}

#[tokio::test]
async fn the_committer_dies_before_the_sync() {
    breaks("idem::flushed", "1*panic").await;
}

#[tokio::test]
async fn the_committer_dies_before_the_witness_knows() {
    breaks("idem::synced", "1*panic").await;
}

#[tokio::test]
async fn the_committer_dies_before_it_answers() {
    breaks("idem::witnessed", "1*panic").await;
}

#[tokio::test]
async fn the_committer_dies_after_it_answered() {
    breaks("idem::answered", "1*panic").await;
}

#[test]
fn an_opening_whose_thread_dies_leaves_the_folder_to_the_next() {
    for point in ["idem::opening", "idem::opened", "idem::open-synced"] {
        let scenario = FailScenario::setup();
        let folder = tempfile::tempdir().unwrap();
        fail::cfg(point, "1*panic").unwrap();
        let path = folder.path().to_owned();
        assert!(
            std::thread::spawn(move || Idem::open(path).map(drop))
                .join()
                .is_err(),
            "{point}"
        );
        Idem::open(folder.path()).unwrap();
        drop(scenario);
    }
}

#[tokio::test]
async fn closing_again_waits_for_the_same_end() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let ledger = SledLedger::open(folder.path(), 1 << 20, clock, "test".to_owned()).unwrap();
    let id = RecordId::new("faults", "1");
    fail::cfg("idem::synced", "pause").unwrap();
    let mut step = ledger.apply(
        &id,
        Step::Issue {
            ttl: Duration::from_secs(60),
        },
    );
    assert!(poll_immediate(&mut step).await.is_none());
    let (mut first, mut second) = (ledger.close(), ledger.close());
    let early = (
        poll_immediate(&mut first).await,
        poll_immediate(&mut second).await,
    );
    fail::remove("idem::synced");
    assert!(
        matches!(early, (None, None)),
        "the committer works, and it says that it is closed"
    );
    drop(first);
    soon(second).await.unwrap();
    assert_eq!(soon(step).await.unwrap(), Reply::Recorded);
    soon(ledger.close()).await.unwrap();
    SledLedger::open(
        folder.path(),
        1 << 20,
        Arc::new(ManualClock::default()),
        "test".to_owned(),
    )
    .unwrap();
    drop(scenario);
}

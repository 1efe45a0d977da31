//! Faults of the machine, under a ledger on fjall.

use std::fs;
use std::path::Path;

use fail::FailScenario;
use idem_runtime::ledger::{Engine, LedgerError};
use idem_runtime::{Error, Idem, idempotent};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Oops, Starts, soon};

#[idempotent(name = "fjall.work", key = "number", skip(starts))]
async fn work(number: u32, starts: &Starts) -> Result<u32, Oops> {
    starts.add();
    Ok(number)
}

fn open(folder: &Path) -> Result<Idem, Error> {
    Idem::builder().engine(Engine::Fjall).open(folder)
}

/// Returns why the ledger refused a call or an opening.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, impl Into<Oops>>) -> LedgerError {
    match answer.map_err(Into::into) {
        Err(Oops::Idem(Error::Ledger { source, .. })) => source,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// The limit on file sizes refuses a write as a full disk does.
fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = bytes.or(maximum);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_calls_on_fjall_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (idem, starts) = (open(folder.path()).unwrap(), Starts::default());
    for number in 0..20 {
        assert_eq!(idem.scope(work(number, &starts)).await.unwrap(), number);
    }
    limit(Some(1000));
    let error = refused(soon(idem.scope(work(20, &starts))).await);
    let text = error.to_string();
    assert!(text.contains("no room left"), "{text}");
    // What is recorded is answered all the same.
    assert_eq!(idem.scope(work(7, &starts)).await.unwrap(), 7);
    let error = refused(soon(idem.scope(work(21, &starts))).await);
    assert!(matches!(error, LedgerError::Full { .. }), "{error}");
    assert_eq!(starts.count(), 20, "a body ran without a claim");
    limit(None);
    for number in [20, 21, 22, 3] {
        assert_eq!(
            soon(idem.scope(work(number, &starts))).await.unwrap(),
            number
        );
    }
    assert_eq!(starts.count(), 23);
    idem.close().await.unwrap();
    let idem = open(folder.path()).unwrap();
    for number in 0..23 {
        assert_eq!(idem.scope(work(number, &starts)).await.unwrap(), number);
    }
    assert_eq!(starts.count(), 23, "a result is gone");
}

#[tokio::test]
async fn a_folder_that_is_moved_is_not_gone_on_with_on_fjall() {
    let place = tempfile::tempdir().unwrap();
    let (data, other) = (place.path().join("data"), place.path().join("other"));
    let (idem, starts) = (open(&data).unwrap(), Starts::default());
    assert_eq!(idem.scope(work(1, &starts)).await.unwrap(), 1);
    fs::rename(&data, &other).unwrap();
    let error = refused(soon(idem.scope(work(2, &starts))).await);
    assert!(
        error.to_string().contains("was moved or deleted"),
        "{error}"
    );
    let error = refused(soon(idem.scope(work(3, &starts))).await);
    assert!(matches!(error, LedgerError::Moved { .. }), "{error}");
    assert_eq!(starts.count(), 1);
}

#[tokio::test]
async fn a_fork_records_nothing_on_fjall() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let (idem, starts) = (open(folder.path()).unwrap(), Starts::default());
    fail::cfg("idem::process", "return").unwrap();
    let error = refused(soon(idem.scope(work(1, &starts))).await);
    assert!(matches!(error, LedgerError::Forked { .. }), "{error}");
    fail::remove("idem::process");
    assert_eq!(idem.scope(work(1, &starts)).await.unwrap(), 1);
    drop(scenario);
}

#[tokio::test]
async fn a_folder_has_one_process_and_one_engine() {
    let place = tempfile::tempdir().unwrap();
    let (on_fjall, on_sled) = (place.path().join("fjall"), place.path().join("sled"));
    let (idem, other) = (open(&on_fjall).unwrap(), Idem::open(&on_sled).unwrap());
    let held = refused(open(&on_fjall));
    assert!(
        matches!(
            held,
            LedgerError::Held {
                lock_removed: false,
                ..
            }
        ),
        "{held}"
    );
    fs::remove_file(on_fjall.join("lock")).unwrap();
    let held = refused(open(&on_fjall));
    assert!(
        matches!(
            held,
            LedgerError::Held {
                lock_removed: true,
                ..
            }
        ),
        "{held}"
    );
    for (wrong, holds) in [(Idem::open(&on_fjall), "fjall"), (open(&on_sled), "sled")] {
        let error = refused(wrong).to_string();
        let expected = format!("holds a ledger on {holds}");
        assert!(
            error.contains(&expected) && error.contains("idem migrate"),
            "{error}"
        );
    }
    drop((idem, other));
    drop((open(&on_fjall).unwrap(), Idem::open(&on_sled).unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_made_while_callers_work_hold_all_that_was_answered_on_fjall() {
    let place = tempfile::tempdir().unwrap();
    let (idem, starts) = (open(&place.path().join("data")).unwrap(), Starts::default());
    for copy in 0..8 {
        let to = place.path().join(format!("copy {copy}"));
        let first = copy * 50;
        let calls = futures_util::future::join_all((first..first + 50).map(|number| {
            let call = work(number, &starts);
            idem.scope(call)
        }));
        let (answers, copied) = tokio::join!(calls, idem.copy_to(&to));
        copied.unwrap();
        assert!(answers.into_iter().all(|answer| answer.is_ok()));
        let before = starts.count();
        let copy = open(&to).unwrap();
        for number in 0..first {
            assert_eq!(copy.scope(work(number, &starts)).await.unwrap(), number);
        }
        assert_eq!(
            starts.count(),
            before,
            "what was answered ran again in the copy"
        );
        let again = idem.copy_to(&to).await.unwrap_err();
        assert!(matches!(again, LedgerError::NotCopied { .. }), "{again}");
        copy.close().await.unwrap();
    }
}

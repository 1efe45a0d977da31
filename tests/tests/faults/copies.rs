//! Copies of a ledger that works.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use fail::FailScenario;
use futures_util::future::join_all;
use idem_runtime::protocol::RecordId;
use idem_runtime::{Idem, idempotent, ledger::LedgerError};

use crate::{Oops, Starts, soon};

/// Some are large, so that sled fills segments, moves what is left in them, and writes where it
/// wrote before.
fn result(number: u32) -> String {
    number
        .to_string()
        .repeat(if number.is_multiple_of(50) { 3000 } else { 40 })
}

#[idempotent(name = "copies.work", key = "number", skip(starts))]
async fn work(number: u32, starts: &Starts) -> Result<String, Oops> {
    starts.add();
    tokio::task::yield_now().await;
    Ok(result(number))
}

/// Everything that was answered is in the copy, with its answer.
async fn holds(copy: &Path, answered: &[u32]) {
    let (idem, again) = (Idem::open(copy).unwrap(), Starts::default());
    for (number, answer) in answered
        .iter()
        .zip(join_all(answered.iter().map(|n| idem.scope(work(*n, &again)))).await)
    {
        assert_eq!(answer.unwrap(), result(*number));
    }
    assert_eq!(again.count(), 0, "what was answered ran again in the copy");
    idem.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_copies_while_32_callers_work_hold_all_that_was_answered() {
    let scenario = FailScenario::setup();
    let place = tempfile::tempdir().unwrap();
    let idem = Idem::open(place.path().join("data")).unwrap();
    let (next, ended) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (answered, starts) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(Starts::default()),
    );
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let (idem, next, ended) = (idem.clone(), Arc::clone(&next), Arc::clone(&ended));
            let (answered, starts) = (Arc::clone(&answered), Arc::clone(&starts));
            tokio::spawn(async move {
                while !ended.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(
                        idem.scope(work(number, &starts)).await.unwrap(),
                        result(number)
                    );
                    answered.lock().unwrap().push(number);
                }
            })
        })
        .collect();
    let mut copies = Vec::new();
    for index in 0..30 {
        let copy = place.path().join(format!("copies/{index}"));
        let before = answered.lock().unwrap().clone();
        soon(idem.copy_to(&copy)).await.unwrap();
        copies.push((copy, before));
    }
    ended.store(true, Ordering::SeqCst);
    for caller in callers {
        soon(caller).await.unwrap();
    }
    assert!(copies.last().unwrap().1.len() > 30, "no call was made");
    for (copy, before) in copies {
        holds(&copy, &before).await;
    }
    drop(scenario);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_answered_while_a_copy_is_made_and_first_calls_after_it() {
    let scenario = FailScenario::setup();
    let place = tempfile::tempdir().unwrap();
    let (idem, starts) = (
        Idem::open(place.path().join("data")).unwrap(),
        Arc::new(Starts::default()),
    );
    for number in 0..20 {
        idem.scope(work(number, &starts)).await.unwrap();
    }
    let ((begins, begun), (goes_on, go_on)) = (mpsc::channel(), mpsc::channel());
    let go_on = Mutex::new(go_on);
    fail::cfg_callback("idem::copying", move || {
        begins.send(()).unwrap();
        go_on.lock().unwrap().recv().unwrap();
    })
    .unwrap();
    let copy = place.path().join("copy");
    let copying = tokio::spawn({
        let (idem, copy) = (idem.clone(), copy.clone());
        async move { idem.copy_to(copy).await }
    });
    soon(tokio::task::spawn_blocking(move || begun.recv().unwrap()))
        .await
        .unwrap();
    let first = tokio::spawn({
        let (idem, starts) = (idem.clone(), Arc::clone(&starts));
        async move { idem.scope(work(20, &starts)).await }
    });
    for number in (0..20).cycle().take(2000) {
        assert_eq!(
            soon(idem.scope(work(number, &starts))).await.unwrap(),
            result(number)
        );
    }
    assert!(
        !first.is_finished() && starts.count() == 20,
        "a group was written while the copy was made"
    );
    // Closing waits for the copy, so it is whole.
    let closing = tokio::spawn({
        let idem = idem.clone();
        async move { idem.close().await }
    });
    goes_on.send(()).unwrap();
    soon(copying).await.unwrap().unwrap();
    assert_eq!(soon(first).await.unwrap().unwrap(), result(20));
    soon(closing).await.unwrap().unwrap();
    let id = RecordId::new("copies.work", "20");
    let copied = Idem::open(&copy).unwrap();
    assert!(
        copied.record(&id).await.unwrap().is_none(),
        "it was called after the copy began"
    );
    copied.close().await.unwrap();
    holds(&copy, &(0..20).collect::<Vec<_>>()).await;
    drop(scenario);
}

#[tokio::test]
async fn a_copy_goes_only_where_nothing_is_and_outside_the_ledgers_own_folder() {
    let scenario = FailScenario::setup();
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let (idem, starts) = (Idem::open(&data).unwrap(), Starts::default());
    idem.scope(work(1, &starts)).await.unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("full/of things")).unwrap();
    fs::write(at("file"), "content").unwrap();
    fs::create_dir(at("empty")).unwrap();
    std::os::unix::fs::symlink(&data, at("link")).unwrap();
    let other = Idem::open(at("other")).unwrap();
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let (around, inside) = (names(place.path()), names(&data));
    for (to, why) in [
        ("data", "not empty"),
        ("link", "not empty"),
        ("", "not empty"),
        ("full", "not empty"),
        ("other", "not empty"),
        ("file", "Check the path"),
        ("file/copy", "Check the path"),
        ("data/copy", "inside the ledger's own"),
        ("data/some/where/copy", "inside the ledger's own"),
        ("link/copy", "inside the ledger's own"),
        ("empty/../data/copy", "inside the ledger's own"),
    ] {
        let Err(problem) = idem.copy_to(at(to)).await else {
            panic!("{to} was copied to")
        };
        assert!(problem.to_string().contains(why), "{to}: {problem}");
        assert_eq!(
            (&names(place.path()), &names(&data)),
            (&around, &inside),
            "{to}"
        );
    }
    assert_eq!(names(&at("full")), ["of things"]);
    for to in ["empty", "not/there", "empty/../beside"] {
        idem.copy_to(at(to)).await.unwrap();
        // It says nothing of a holder.
        assert_eq!(fs::read_to_string(at(to).join("lock")).unwrap(), "");
        holds(&at(to), &[1]).await;
    }
    other.close().await.unwrap();
    idem.close().await.unwrap();
    let Err(LedgerError::Closed) = idem.copy_to(at("late")).await else {
        panic!("it is closed")
    };
    assert!(!at("late").exists());
    drop(scenario);
}

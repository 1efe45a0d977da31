//! A ledger that is no longer where it was opened: its folder is moved or deleted, or its process
//! is a fork.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use fail::FailScenario;
use idem_runtime::{Error, Filter, Idem, idempotent, ledger::LedgerError};
use rustix::process::{Pid, Signal, kill_process_group};
use wait_timeout::ChildExt;

use crate::{Oops, Starts, copy, soon};

#[idempotent(name = "places.double", key = "number", retries = 3, skip(starts))]
async fn double(number: u32, starts: &Starts) -> Result<u32, Oops> {
    starts.add();
    Ok(number * 2)
}

/// Takes a ledger's folder away, and opens another in its place.
async fn taken_away(take: impl Fn(&Path)) {
    let scenario = FailScenario::setup();
    let (place, starts) = (tempfile::tempdir().unwrap(), Starts::default());
    let folder = place.path().join("data");
    let idem = Idem::open(&folder).unwrap();
    assert_eq!(idem.scope(double(1, &starts)).await.unwrap(), 2);
    take(&folder);
    let other = Idem::open(&folder).unwrap();
    for number in [2, 3, 1] {
        let error = idem.scope(double(number, &starts)).await.unwrap_err();
        let Oops::Idem(
            error @ Error::Ledger {
                source: LedgerError::Moved { .. },
                ..
            },
        ) = error
        else {
            panic!("message {number}: {error:?}")
        };
        assert!(
            format!("{error:#}").contains(folder.to_str().unwrap()),
            "{error}"
        );
    }
    let listed = soon(idem.dead_letters().list(&Filter::default())).await;
    assert!(matches!(listed, Err(LedgerError::Moved { .. })));
    assert!(matches!(
        soon(idem.sweep()).await,
        Err(LedgerError::Moved { .. })
    ));
    let started = starts.count();
    soon(idem.close()).await.unwrap();
    drop(idem);
    // It took nothing from the other one.
    assert_eq!(other.scope(double(4, &starts)).await.unwrap(), 8);
    assert!(matches!(
        Idem::open(&folder),
        Err(Error::Ledger {
            source: LedgerError::Held { .. },
            ..
        })
    ));
    soon(other.close()).await.unwrap();
    let other = Idem::open(&folder).unwrap();
    assert_eq!(other.scope(double(4, &starts)).await.unwrap(), 8);
    assert_eq!(starts.count(), started + 1);
    drop(scenario);
}

#[tokio::test]
async fn a_deleted_folder_acknowledges_nothing_more() {
    taken_away(|folder| fs::remove_dir_all(folder).unwrap()).await;
}

#[tokio::test]
async fn a_moved_folder_acknowledges_nothing_more() {
    taken_away(|folder| fs::rename(folder, folder.with_extension("old")).unwrap()).await;
}

#[tokio::test]
async fn a_folder_that_is_put_back_holds_what_was_acknowledged() {
    let scenario = FailScenario::setup();
    let (place, starts) = (tempfile::tempdir().unwrap(), Starts::default());
    let (folder, aside) = (place.path().join("data"), place.path().join("aside"));
    let idem = Idem::open(&folder).unwrap();
    assert_eq!(idem.scope(double(1, &starts)).await.unwrap(), 2);
    fs::rename(&folder, &aside).unwrap();
    assert!(idem.scope(double(2, &starts)).await.is_err());
    fs::rename(&aside, &folder).unwrap();
    // What happened to it meanwhile is not known.
    assert!(idem.scope(double(1, &starts)).await.is_err());
    drop(idem);
    // As after a new start of the process.
    let again = tempfile::tempdir().unwrap();
    copy(&folder, again.path());
    let idem = Idem::open(again.path()).unwrap();
    assert_eq!(idem.scope(double(1, &starts)).await.unwrap(), 2);
    assert_eq!(starts.count(), 1);
    drop(scenario);
}

#[tokio::test]
async fn where_no_thread_can_be_started_letters_are_listed_all_the_same() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    fail::cfg("idem::thread", "return").unwrap();
    assert_eq!(
        soon(idem.dead_letters().list(&Filter::default()))
            .await
            .unwrap(),
        []
    );
    drop(scenario);
}

/// A process that was forked: each line is what it was told, and then what became of the one that
/// opened the ledger.
#[test]
fn a_fork_is_told_so_and_takes_nothing_from_the_process_that_opened_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Command::new(env!("CARGO_BIN_EXE_victim"))
        .args(["forked".as_ref(), folder.path().as_os_str()])
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    if victim
        .wait_timeout(Duration::from_secs(60))
        .unwrap()
        .is_none()
    {
        // The fork hangs; it is of the victim's group.
        kill_process_group(Pid::from_child(&victim), Signal::KILL).unwrap();
    }
    let said = io::read_to_string(victim.stdout.take().unwrap()).unwrap();
    victim.wait().unwrap();
    let lines: Vec<_> = said.lines().collect();
    let told: Vec<_> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("child: "))
        .collect();
    assert_eq!(told.len(), 6, "{lines:#?}");
    let (dropped, told) = told.split_last().unwrap();
    assert!(
        told.iter()
            .all(|line| line.contains("open an Idem with a folder of its own")),
        "{lines:#?}"
    );
    assert_eq!(*dropped, "dropped");
    let rest: Vec<_> = lines
        .iter()
        .filter(|line| !line.starts_with("child: "))
        .collect();
    assert_eq!(
        rest,
        [
            &"open",
            &"forked: 0",
            &"held: true",
            &"answered Some(14) Some(21)",
            &"closed true"
        ]
    );
}

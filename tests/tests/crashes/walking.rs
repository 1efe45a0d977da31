//! The walk itself: its errors when something is wrong with the test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use idem_crashtest::{CrashKind, Process, Walk, everywhere};
use idem_runtime::Error;

use super::handlers::good;

/// What the walk panics with.
fn complaint(walk: impl FnOnce()) -> String {
    let caught = catch_unwind(AssertUnwindSafe(walk)).unwrap_err();
    caught.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn a_scenario_that_panics_fails_with_what_it_printed() {
    let said = complaint(|| drop(everywhere(async |_| panic!("the sky fell"))));
    assert!(
        said.contains("process 1 of the run without a crash failed")
            && said.contains("the sky fell"),
        "{said}"
    );
}

#[test]
fn a_scenario_that_returns_an_error_fails() {
    let said = complaint(|| {
        drop(everywhere(async |_| {
            Err::<(), _>(Error::Closed {
                handler: None,
                key: None,
            })
        }));
    });
    assert!(
        said.contains("the scenario returned an error") && said.contains("Closed"),
        "{said}"
    );
}

#[test]
fn a_scenario_that_fails_after_a_crash_says_which() {
    let walk = Walk::new().crash_kinds(&[CrashKind::Kill]);
    let said = complaint(|| {
        drop(walk.everywhere(async |process: Process| assert_eq!(process.number(), 1)));
    });
    // Runs are made side by side, so the machine decides which of them fails first.
    assert!(
        said.contains("process 2 of the run that was killed at idem::"),
        "{said}"
    );
    assert!(said.contains(", pass 1 failed"), "{said}");
}

#[test]
fn a_scenario_that_hangs_is_ended() {
    let walk = Walk::new().deadline(Duration::from_secs(1));
    let said = complaint(|| drop(walk.everywhere(async |_| std::future::pending::<()>().await)));
    assert!(said.contains("did not end within 1s"), "{said}");
}

#[test]
fn a_scenario_that_always_dies_is_given_up() {
    let said = complaint(|| drop(everywhere(async |_| std::process::abort())));
    assert!(
        said.contains("the run without a crash was given up: 100 processes crashed"),
        "{said}"
    );
}

#[test]
fn a_test_that_is_not_there_is_named() {
    let walk = Walk::new().test("no::such_test");
    let said = complaint(|| drop(walk.everywhere(async |_| ())));
    assert!(
        said.contains("`no::such_test`, but it never reached the walk"),
        "{said}"
    );
}

#[test]
fn a_thread_without_a_test_is_told_so() {
    let said = std::thread::spawn(|| complaint(|| drop(everywhere(async |_| ()))))
        .join()
        .unwrap();
    assert!(
        said.contains("this thread has no test's name") && said.contains("`Walk::test`"),
        "{said}"
    );
}

#[tokio::test]
async fn a_test_on_a_runtime_walks_once() {
    let runs = everywhere(async |_| drop(good("A".into()).await));
    assert!(runs.iter().all(|run| run.result("good", "A") == Some(1)));
    assert_eq!(
        runs[0].to_string(),
        "no crash: good A started 1 time, done: 1"
    );
    let said = complaint(|| drop(everywhere(async |_| ())));
    assert!(
        said.contains("walking::a_test_on_a_runtime_walks_once` has walked already"),
        "{said}"
    );
}

//! Why a walk could not be walked.

use std::io;
use std::time::Duration;

use crate::failpoints::Crash;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    #[error(
        "a walk starts its own test again, but this thread has no test's name: call it from the `#[test]` function \
         itself, or set the test's whole path with `Walk::test`, as `cargo test -- --list` shows it"
    )]
    NoName,
    #[error(
        "`{0}` has walked already: a test may walk once, because each walk is found by its test's name"
    )]
    Twice(String),
    #[error(
        "the test binary was started again for the test `{test}`, but it never reached the walk: check that this is \
         the test's whole path, and that nothing before the walk ends the test. It printed:\n{output}"
    )]
    NotReached { test: String, output: String },
    #[error("process {process} of the run {} failed ({status}):\n{output}", run(crash.as_ref()))]
    Failed {
        crash: Option<Crash>,
        process: u32,
        status: String,
        output: String,
    },
    #[error(
        "process {process} of the run {} did not end within {deadline:?}; it printed:\n{output}",
        run(crash.as_ref())
    )]
    Hung {
        crash: Option<Crash>,
        process: u32,
        deadline: Duration,
        output: String,
    },
    #[error("the run {} was given up: {processes} processes crashed one after another", run(crash.as_ref()))]
    Endless {
        crash: Option<Crash>,
        processes: u32,
    },
    #[error("cannot read the ledger after the run {}: {error}", run(crash.as_ref()))]
    Unreadable {
        crash: Option<Crash>,
        error: Box<idem_runtime::Error>,
    },
    #[error("cannot prepare a folder or a process for the walk: {0}")]
    Io(#[from] io::Error),
}

/// Names a run by its crash.
fn run(crash: Option<&Crash>) -> String {
    crash.map_or_else(
        || "without a crash".to_owned(),
        |crash| format!("that was {crash}"),
    )
}

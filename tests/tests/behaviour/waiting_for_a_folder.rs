//! `wait_for` where waiting does not help. That it does otherwise, `observability.rs` and the tests of
//! the command `idem` see by what is said meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use idem_runtime::ledger::LedgerError;
use idem_runtime::{Error, Idem};

use crate::common::on_a_thread;

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(600);

fn open(path: PathBuf, longest: Duration) -> Result<Idem, Error> {
    Idem::builder().wait_for(longest).open(path)
}

#[test]
fn a_folder_that_is_not_released_in_time_is_refused_as_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let first = Idem::open(folder.path()).unwrap();
    for longest in [Duration::ZERO, Duration::from_millis(1)] {
        let refused = open(folder.path().to_owned(), longest).unwrap_err();
        let us = std::process::id();
        assert!(
            matches!(&refused, Error::Ledger { source: LedgerError::Held { by: Some(by), .. }, .. } if *by == us),
            "{refused:?}"
        );
    }
    pollster::block_on(first.close()).unwrap();
}

#[test]
fn an_error_that_waiting_does_not_mend_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a file");
    std::fs::write(&path, "no folder").unwrap();
    let refused = on_a_thread(move || open(path, LONG)).unwrap_err();
    assert!(matches!(refused, Error::Ledger { .. }), "{refused:?}");
}

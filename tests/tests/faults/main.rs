//! Faults of the machine: syncs that fail, threads that die, clocks that step, folders that are read-only, disks that
//! are full.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod clocks;
mod copies;
mod folders;
mod threads;

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idem_runtime::Error;

/// Waits for what has to happen; the limit is only there so that a wrong runtime fails and does not hang.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it did not happen within a minute")
}

/// How often bodies started.
#[derive(Debug, Default)]
struct Starts(AtomicU32);

impl Starts {
    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    fn add(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// A user's error type.
#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("message {0} was to fail")]
    Own(u32),
    #[error(transparent)]
    Idem(#[from] Error),
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

//! Faults of the machine: reads, writes and syncs that fail, threads that die, clocks that step,
//! folders that are read-only, disks that are full.
//!
//! `IDEM_FAULTS_SEED` gives a run again whose sample of calls was chosen by chance.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[cfg(target_os = "linux")]
mod at_work;
#[cfg(target_os = "linux")]
mod bits;
mod clocks;
mod copies;
mod folders;
#[cfg(target_os = "linux")]
mod ledger;
#[cfg(target_os = "linux")]
mod on_fjall;
#[cfg(target_os = "linux")]
mod openings;
mod places;
mod refused;
mod sends;
#[cfg(target_os = "linux")]
mod shim;
mod threads;

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idem_runtime::Error;

/// Waits for what has to happen; the limit is only there so that a wrong runtime fails and does not
/// hang.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it did not happen within a minute")
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

/// Where chance begins; `IDEM_FAULTS_SEED` gives the same run again.
fn seed() -> u64 {
    let seed = std::env::var("IDEM_FAULTS_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("a number"),
    );
    println!("IDEM_FAULTS_SEED={seed}");
    seed
}

/// Fails where something was wrong, with all of it.
fn complain(wrong: &[String], tried: usize) {
    assert!(
        wrong.is_empty(),
        "{} of {tried} went wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

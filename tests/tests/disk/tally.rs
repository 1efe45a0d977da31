//! How a run is chosen, and its results.

use std::collections::BTreeMap;
use std::fmt;

use tempfile::TempDir;

use crate::verdict::Verdict;

/// A number from the environment.
fn chosen(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().expect("a number"))
}

/// Returns how many images to judge.
pub(crate) fn images(default: u64) -> u64 {
    chosen("IDEM_DISK_IMAGES").unwrap_or(default)
}

/// Returns the seed.
pub(crate) fn seed() -> u64 {
    let seed = chosen("IDEM_DISK_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("IDEM_DISK_SEED={seed}");
    seed
}

/// Returns a folder in memory if there is one: these tests decide which writes survive, so none has
/// to wait for a disk.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a place for files")
}

/// The verdicts on images of each kind.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<(&'static str, Verdict), usize>);

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str, verdict: Verdict) {
        *self.0.entry((what, verdict)).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|((what, verdict), count)| writeln!(f, "{count:6} {what}: {verdict:?}"))
    }
}

/// Fails where something was lost, with all of it.
pub(crate) fn none_was_lost(losses: &[String]) {
    assert!(
        losses.is_empty(),
        "{} losses without a word:\n{}",
        losses.len(),
        losses.join("\n\n")
    );
}

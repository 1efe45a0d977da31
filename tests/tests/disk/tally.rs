//! How a run is chosen, and what came of it.

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

/// How many images to judge.
pub(crate) fn images(default: u64) -> u64 {
    chosen("IDEM_DISK_IMAGES").unwrap_or(default)
}

/// Where chance begins.
pub(crate) fn seed() -> u64 {
    let seed = chosen("IDEM_DISK_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("IDEM_DISK_SEED={seed}");
    seed
}

/// A folder in memory where there is one: which writes survive is decided here, so nothing need
/// wait for a disk.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a place for files")
}

/// What came of images of each kind.
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

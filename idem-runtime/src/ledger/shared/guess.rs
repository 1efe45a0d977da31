//! A guess whether the next first claim meets a row.

use std::sync::atomic::{AtomicU16, Ordering};

/// What the last 16 first claims met, a bit each: 1 for a row.
///
/// A new key costs one trip if it is written without a read. A duplicate then costs a write in vain
/// and a read.
#[derive(Default)]
pub(super) struct Guess(AtomicU16);

impl Guess {
    /// Returns whether a row is to be expected: more than half of them met one.
    pub(super) fn row(&self) -> bool {
        self.0.load(Ordering::Relaxed).count_ones() > u16::BITS / 2
    }

    /// Notes whether a first claim met a row.
    pub(super) fn met(&self, row: bool) {
        let after = |before: u16| Some(before << 1 | u16::from(row));
        // It always changes.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
    }
}

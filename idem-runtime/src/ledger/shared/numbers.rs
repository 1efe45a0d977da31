//! The numbers of writes, which are versions of rows and fencing tokens.

use jiff::Timestamp;

use super::LATEST;
use super::core::Core;
use super::store::{Store, StoreError};
use crate::clock::until;

const A_BLOCK: u64 = 1_000;

/// A block of numbers that this process reserved.
///
/// A first claim is written without reading its row, so its number must be larger than that of
/// every row that was removed. Rows outlive their records by more than a block lasts.
#[derive(Default)]
pub(super) struct Numbers {
    next: u64,
    end: u64,
    /// When it was asked for, by the clock.
    since: Timestamp,
}

impl Numbers {
    /// Sees to it that the next `count` numbers are there and larger than `above`.
    pub(super) async fn ensure<S: Store>(
        &mut self,
        core: &Core<S>,
        count: usize,
        above: u64,
    ) -> Result<(), StoreError> {
        let (now, count) = (core.clock().now(), count as u64);
        if self.are_old(now) || self.next <= above || self.end.saturating_sub(self.next) < count {
            let wanted = count.max(A_BLOCK);
            let first = core.ask(core.store.reserve(wanted)).await?;
            *self = Self {
                next: first,
                end: first + wanted,
                since: now,
            };
            if first <= above {
                // It would be a defect of the store.
                return Err(StoreError::lost(
                    "it reserved a number that was given out before",
                ));
            }
        }
        Ok(())
    }

    /// Returns whether the block is too old for a first claim.
    pub(super) fn are_old(&self, now: Timestamp) -> bool {
        now < self.since || until(now, self.since) >= LATEST / 2
    }

    pub(super) fn peek(&self) -> u64 {
        self.next
    }

    pub(super) fn take(&mut self) {
        self.next += 1;
    }
}

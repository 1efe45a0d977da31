//! The numbers of writes, which are versions of rows and fencing tokens.

use std::collections::VecDeque;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::LATEST;
use super::core::Core;
use super::store::{Store, StoreError};
use crate::clock::until;

/// To reserve one takes a commit, which a busy process would notice every few batches.
const A_BLOCK: u64 = 10_000;

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

/// The blocks whose numbers may still be written: not those that were reserved two
/// [`LATEST`](super::LATEST) ago.
#[derive(Default)]
pub(super) struct Blocks(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// When each was asked for, by the clock, and its first number.
    blocks: VecDeque<(Timestamp, u64)>,
    /// The end of the last one.
    end: u64,
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
        if !self.has(count, above, now) {
            let wanted = count.max(A_BLOCK);
            let first = core.ask(core.store.reserve(wanted)).await?;
            *self = Self {
                next: first,
                end: first + wanted,
                since: now,
            };
            core.blocks.add(self);
            if first <= above {
                // It would be a defect of the store.
                return Err(StoreError::lost(
                    "it reserved a number that was given out before",
                ));
            }
        }
        Ok(())
    }

    fn has(&self, count: u64, above: u64, now: Timestamp) -> bool {
        !is_old(self.since, now) && self.next > above && self.end.saturating_sub(self.next) >= count
    }

    /// Takes a number that is larger than `above`, if there is one.
    pub(super) fn take_above(&mut self, above: u64, now: Timestamp) -> Option<u64> {
        let number = self.has(1, above, now).then_some(self.next)?;
        self.take();
        Some(number)
    }

    /// Returns when the block was asked for.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) fn peek(&self) -> u64 {
        self.next
    }

    pub(super) fn take(&mut self) {
        self.next += 1;
    }
}

impl Blocks {
    fn add(&self, block: &Numbers) {
        let mut recent = self.0.lock();
        recent.blocks.push_back((block.since, block.next));
        recent.end = block.end;
    }

    /// Returns the smallest number that may still be written, by this clock.
    pub(super) fn oldest(&self, now: Timestamp) -> u64 {
        let mut recent = self.0.lock();
        let is_past = |(since, _): &mut (Timestamp, u64)| until(now, *since) >= LATEST * 2;
        while recent.blocks.pop_front_if(is_past).is_some() {}
        recent
            .blocks
            .front()
            .map_or(recent.end, |(_, first)| *first)
    }
}

/// Returns whether a block that was asked for then is too old for a first claim.
pub(super) fn is_old(since: Timestamp, now: Timestamp) -> bool {
    now < since || until(now, since) >= LATEST / 2
}

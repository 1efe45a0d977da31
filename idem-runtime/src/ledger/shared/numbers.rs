//! The numbers of writes, which are versions of rows and fencing tokens.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::LATEST;
use super::core::Core;
use super::store::{Store, StoreError};
use crate::clock::until;

/// To reserve one takes a commit, which a busy process would notice every few batches.
const A_BLOCK: u64 = 10_000;

/// The numbers that this process reserved.
///
/// A first claim is written without reading its row, so its number must be larger than that of
/// every row that was removed. Rows outlive their records by more than a block lasts.
#[derive(Default)]
pub(super) struct Numbers {
    block: Mutex<Block>,
    /// One is reserved at a time.
    reserving: tokio::sync::Mutex<()>,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Block {
    next: u64,
    end: u64,
    /// When it was asked for, by the clock.
    since: Timestamp,
}

/// The blocks whose numbers may still be written: not those that were reserved two
/// [`LATEST`](super::LATEST) ago.
#[derive(Default)]
struct Recent {
    /// When each was asked for, by the clock, and its first number.
    blocks: VecDeque<(Timestamp, u64)>,
    /// The end of the last one.
    end: u64,
}

/// A number for one write.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) number: u64,
    /// When its block was asked for, by the clock.
    pub(super) since: Timestamp,
}

impl Numbers {
    /// Takes a number that is larger than `above`, if there is one.
    pub(super) fn take(&self, above: u64, now: Timestamp) -> Option<Number> {
        let mut block = self.block.lock();
        let (number, since) = (block.next, block.since);
        if is_old(since, now) || number <= above || number == block.end {
            return None;
        }
        block.next += 1;
        Some(Number { number, since })
    }

    /// Forgets the numbers that were not taken: others are reserved.
    pub(super) fn forget(&self) {
        *self.block.lock() = Block::default();
    }

    /// Returns the smallest number that may still be written, by this clock.
    pub(super) fn oldest(&self, now: Timestamp) -> u64 {
        let mut recent = self.recent.lock();
        let is_past = |(since, _): &mut (Timestamp, u64)| until(now, *since) >= LATEST * 2;
        while recent.blocks.pop_front_if(is_past).is_some() {}
        recent
            .blocks
            .front()
            .map_or(recent.end, |(_, first)| *first)
    }
}

impl<S: Store> Core<S> {
    /// Takes a number that is larger than `above`, and reserves a block if it must.
    pub(super) async fn number(self: &Arc<Self>, above: u64) -> Result<Number, StoreError> {
        match self.numbers.take(above, self.clock().now()) {
            Some(number) => Ok(number),
            None => {
                self.elsewhere(async move |core| core.reserve(above).await)
                    .await
            }
        }
    }

    async fn reserve(&self, above: u64) -> Result<Number, StoreError> {
        let _one = self.numbers.reserving.lock().await;
        let since = self.clock().now();
        // Another call may have reserved a block meanwhile.
        if let Some(number) = self.numbers.take(above, since) {
            return Ok(number);
        }
        let number = self.ask(self.store.reserve(A_BLOCK)).await?;
        let (next, end) = (number + 1, number + A_BLOCK);
        let mut recent = self.numbers.recent.lock();
        recent.blocks.push_back((since, number));
        recent.end = end;
        drop(recent);
        *self.numbers.block.lock() = Block { next, end, since };
        if number <= above {
            // It would be a defect of the store.
            return Err(StoreError::lost(
                "it reserved a number that was given out before",
            ));
        }
        Ok(Number { number, since })
    }
}

/// Returns whether a block that was asked for then is too old for a first claim.
pub(super) fn is_old(since: Timestamp, now: Timestamp) -> bool {
    now < since || until(now, since) >= LATEST / 2
}

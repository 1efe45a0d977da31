//! An assigned partition, and up to where it may be committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// One assignment of a partition. A partition that is assigned again is a new one.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    /// `None` once the partition is revoked.
    offsets: Mutex<Option<Offsets>>,
}

impl Partition {
    pub(super) fn new(topic: &str, number: i32) -> Self {
        Self {
            topic: topic.into(),
            number,
            offsets: Mutex::new(Some(Offsets::default())),
        }
    }

    pub(super) fn take(&self, offset: i64) {
        self.offsets
            .lock()
            .iter_mut()
            .for_each(|offsets| offsets.take(offset));
    }

    /// Marks a message as finished. Returns false if the partition is revoked.
    pub(super) fn finish(&self, offset: i64) -> bool {
        self.offsets
            .lock()
            .as_mut()
            .map(|offsets| offsets.finish(offset))
            .is_some()
    }

    pub(super) fn is_assigned(&self) -> bool {
        self.offsets.lock().is_some()
    }

    /// Returns the position to commit, if it has changed.
    pub(super) fn next_commit(&self) -> Option<i64> {
        self.offsets.lock().as_mut().and_then(Offsets::next_commit)
    }

    /// Notes that the last commit failed.
    pub(super) fn commit_failed(&self) {
        self.offsets
            .lock()
            .iter_mut()
            .for_each(Offsets::commit_failed);
    }

    /// Revokes the partition, and returns the position to commit, if it has changed.
    pub(super) fn revoke(&self) -> Option<i64> {
        self.offsets
            .lock()
            .take()
            .and_then(|mut offsets| offsets.next_commit())
    }
}

/// The messages taken from one partition that are not finished.
///
/// The ends of transactions and compacted messages are gaps between the offsets that are never
/// delivered, so only offsets that were taken are waited for.
#[derive(Debug, Default)]
struct Offsets {
    unfinished: BTreeSet<i64>,
    /// The offset after the last one that was taken.
    end: Option<i64>,
    committed: Option<i64>,
}

impl Offsets {
    fn take(&mut self, offset: i64) {
        if self.end.is_none() {
            // The group starts here already. Committing it could only put the group back.
            self.committed = Some(offset);
        }
        self.unfinished.insert(offset);
        self.end = Some(offset + 1);
    }

    fn finish(&mut self, offset: i64) {
        self.unfinished.remove(&offset);
    }

    /// Returns where the next consumer has to start: at the first unfinished message, or after the
    /// last one.
    fn position(&self) -> Option<i64> {
        self.unfinished.first().copied().or(self.end)
    }

    fn next_commit(&mut self) -> Option<i64> {
        let position = self
            .position()
            .filter(|position| self.committed != Some(*position))?;
        self.committed = Some(position);
        Some(position)
    }

    fn commit_failed(&mut self) {
        self.committed = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Offsets;

    #[test]
    fn an_untouched_partition_is_not_committed() {
        assert_eq!(Offsets::default().next_commit(), None);
    }

    #[test]
    fn the_first_position_is_not_committed() {
        let mut offsets = Offsets::default();
        offsets.take(7);
        offsets.take(8);
        offsets.finish(8);
        assert_eq!(offsets.next_commit(), None);
    }

    #[test]
    fn a_position_is_committed_again_only_after_a_failure() {
        let mut offsets = Offsets::default();
        offsets.take(7);
        offsets.finish(7);
        assert_eq!(offsets.next_commit(), Some(8));
        assert_eq!(offsets.next_commit(), None);
        offsets.commit_failed();
        assert_eq!(offsets.next_commit(), Some(8));
    }

    #[test]
    fn a_partition_that_was_reset_is_committed_from_there() {
        let mut offsets = Offsets::default();
        for offset in [100, 3] {
            offsets.take(offset);
            offsets.finish(offset);
        }
        assert_eq!(offsets.next_commit(), Some(4));
    }

    proptest! {
        /// Takes messages with gaps between them in order, and finishes them in any order.
        #[test]
        fn a_commit_never_passes_an_unfinished_message_and_reaches_the_end(
            first in 0_i64..1000,
            gaps in vec(1_i64..5, 1..60),
            choices in vec((any::<bool>(), any::<prop::sample::Index>(), any::<bool>()), 0..200),
        ) {
            let all: Vec<i64> = gaps.iter().scan(first, |offset, gap| { *offset += gap; Some(*offset) }).collect();
            let (mut to_take, mut open) = (all.iter().copied(), Vec::new());
            let (mut offsets, mut committed) = (Offsets::default(), i64::MIN);
            let mut commit = |offsets: &mut Offsets, open: &[i64], succeeds: bool| {
                if let Some(position) = offsets.next_commit() {
                    prop_assert!(open.iter().all(|offset| position <= *offset), "{position} passes one of {open:?}");
                    prop_assert!(position >= committed, "{position} after {committed}");
                    if succeeds { committed = position } else { offsets.commit_failed() }
                }
                Ok(())
            };
            for (take, which, succeeds) in choices {
                if take {
                    to_take.next().into_iter().for_each(|offset| { offsets.take(offset); open.push(offset) });
                } else if !open.is_empty() {
                    offsets.finish(open.swap_remove(which.index(open.len())));
                }
                commit(&mut offsets, &open, succeeds)?;
            }
            for offset in to_take {
                offsets.take(offset);
                open.push(offset);
            }
            for offset in open.drain(..) {
                offsets.finish(offset);
            }
            commit(&mut offsets, &[], true)?;
            prop_assert_eq!(committed, all[all.len() - 1] + 1);
        }
    }
}

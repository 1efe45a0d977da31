//! Up to where a partition may be committed.

use std::collections::BTreeSet;

/// What was taken of one partition, and what of it is not finished.
///
/// Nothing is known of the offsets in between: a transaction's end and what compaction took away
/// are gaps that nobody ever hands over, so only what was taken is waited for.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    unfinished: BTreeSet<i64>,
    /// Behind the last one that was taken.
    end: Option<i64>,
    /// What the broker was told last.
    told: Option<i64>,
}

impl Offsets {
    /// A message was taken.
    pub(super) fn take(&mut self, offset: i64) {
        if self.end.is_none() {
            // Where the broker had us begin; to commit that could only take the group back.
            self.told = Some(offset);
        }
        self.unfinished.insert(offset);
        self.end = Some(offset + 1);
    }

    /// It is settled for good.
    pub(super) fn finish(&mut self, offset: i64) {
        self.unfinished.remove(&offset);
    }

    /// Where the next consumer would have to begin: at the first message that is not finished, or
    /// behind the last.
    fn position(&self) -> Option<i64> {
        self.unfinished.first().copied().or(self.end)
    }

    /// What the broker is to be told, where that is news.
    pub(super) fn news(&mut self) -> Option<i64> {
        let news = self
            .position()
            .filter(|position| self.told != Some(*position))?;
        self.told = Some(news);
        Some(news)
    }

    /// The broker did not take what it was told.
    pub(super) fn unheard(&mut self) {
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Offsets;

    #[test]
    fn nothing_taken_is_no_news() {
        assert_eq!(Offsets::default().news(), None);
    }

    #[test]
    fn the_beginning_is_no_news() {
        let mut offsets = Offsets::default();
        offsets.take(7);
        offsets.take(8);
        offsets.finish(8);
        assert_eq!(offsets.news(), None);
    }

    #[test]
    fn what_was_told_is_no_news_until_the_broker_did_not_hear_it() {
        let mut offsets = Offsets::default();
        offsets.take(7);
        offsets.finish(7);
        assert_eq!(offsets.news(), Some(8));
        assert_eq!(offsets.news(), None);
        offsets.unheard();
        assert_eq!(offsets.news(), Some(8));
    }

    #[test]
    fn a_partition_that_was_put_back_is_followed() {
        let mut offsets = Offsets::default();
        for offset in [100, 3] {
            offsets.take(offset);
            offsets.finish(offset);
        }
        assert_eq!(offsets.news(), Some(4));
    }

    proptest! {
        /// Messages with gaps between them, taken in order, some ahead of those that are being
        /// worked on, and finished in any order.
        #[test]
        fn the_position_never_passes_an_unfinished_message_and_reaches_the_end(
            first in 0_i64..1000,
            gaps in vec(1_i64..5, 1..60),
            choices in vec((any::<bool>(), any::<prop::sample::Index>(), any::<bool>()), 0..200),
        ) {
            let all: Vec<i64> = gaps.iter().scan(first, |offset, gap| { *offset += gap; Some(*offset) }).collect();
            let (mut to_take, mut open) = (all.iter().copied(), Vec::new());
            let (mut offsets, mut told) = (Offsets::default(), i64::MIN);
            let mut hear = |offsets: &mut Offsets, open: &[i64], heard: bool| {
                if let Some(news) = offsets.news() {
                    prop_assert!(open.iter().all(|offset| news <= *offset), "{news} passes one of {open:?}");
                    prop_assert!(news >= told, "{news} after {told}");
                    if heard { told = news } else { offsets.unheard() }
                }
                Ok(())
            };
            for (take, which, heard) in choices {
                if take {
                    to_take.next().into_iter().for_each(|offset| { offsets.take(offset); open.push(offset) });
                } else if !open.is_empty() {
                    offsets.finish(open.swap_remove(which.index(open.len())));
                }
                hear(&mut offsets, &open, heard)?;
            }
            for offset in to_take {
                offsets.take(offset);
                open.push(offset);
            }
            for offset in open.drain(..) {
                offsets.finish(offset);
            }
            hear(&mut offsets, &[], true)?;
            prop_assert_eq!(told, all[all.len() - 1] + 1);
        }
    }
}

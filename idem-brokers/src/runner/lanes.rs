//! Messages with the same key go one after the other, in the order they came.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The last one of each key that has one under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Lanes {
    last: Arc<Mutex<HashMap<String, Last>>>,
}

/// Its number in the lane, and what tells of its end.
type Last = (u64, oneshot::Receiver<End>);

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The message is settled.
    Done,
    /// The message went back to its broker, so those behind it must not overtake it.
    GaveBack,
}

/// A place in a lane. Whoever drops it without an end has given its message back.
#[derive(Debug)]
pub(super) struct Turn {
    lanes: Lanes,
    key: String,
    number: u64,
    before: Option<oneshot::Receiver<End>>,
    end: Option<oneshot::Sender<End>>,
}

impl Lanes {
    /// The next place of this key. Asked in the order of arrival.
    pub(super) fn enter(&self, key: String) -> Turn {
        let (end, ended) = oneshot::channel();
        let mut last = self.last.lock();
        let before = last.remove(&key);
        let number = before.as_ref().map_or(0, |(number, _)| number + 1);
        last.insert(key.clone(), (number, ended));
        drop(last);
        Turn {
            lanes: self.clone(),
            key,
            number,
            before: before.map(|(_, before)| before),
            end: Some(end),
        }
    }
}

impl Turn {
    /// Waits for the one before; says how it ended.
    pub(super) async fn come(&mut self) -> End {
        let Some(before) = &mut self.before else {
            return End::Done;
        };
        let end = before.await.unwrap_or(End::GaveBack);
        self.before = None;
        end
    }

    /// Lets the next one come.
    pub(super) fn end(mut self, end: End) {
        self.leave(end);
    }

    fn leave(&mut self, end: End) {
        let Some(next) = self.end.take() else { return };
        let mut last = self.lanes.last.lock();
        if last
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            last.remove(&self.key);
        }
        drop(last);
        // Nobody needs to be behind.
        let _ = next.send(end);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave(End::GaveBack);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::{End, Lanes};

    #[test]
    fn one_after_the_other() {
        let lanes = Lanes::default();
        let (mut first, mut second, mut other) = (
            lanes.enter("a".into()),
            lanes.enter("a".into()),
            lanes.enter("b".into()),
        );
        assert_eq!(first.come().now_or_never(), Some(End::Done));
        assert_eq!(other.come().now_or_never(), Some(End::Done));
        assert_eq!(second.come().now_or_never(), None);
        first.end(End::Done);
        assert_eq!(second.come().now_or_never(), Some(End::Done));
        second.end(End::Done);
        other.end(End::Done);
        assert!(lanes.last.lock().is_empty());
    }

    #[test]
    fn those_behind_one_that_went_back_know_it() {
        let lanes = Lanes::default();
        let (first, mut second) = (lanes.enter("a".into()), lanes.enter("a".into()));
        drop(first);
        assert_eq!(second.come().now_or_never(), Some(End::GaveBack));
    }
}

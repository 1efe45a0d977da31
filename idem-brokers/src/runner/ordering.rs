//! Keeps messages with the same ordering key in the order of their arrival.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The last turn of each ordering key that has one under way.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyQueues {
    last: Arc<Mutex<HashMap<String, Last>>>,
}

/// The number of a turn, and a receiver of its end.
type Last = (u64, oneshot::Receiver<End>);

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The message is settled.
    Settled,
    /// The message went back to its broker, so those behind it must not overtake it.
    GivenBack,
}

/// A place in a key's queue. Dropping it without an end counts as [`End::GivenBack`].
#[derive(Debug)]
pub(super) struct Turn {
    queues: KeyQueues,
    key: String,
    number: u64,
    before: Option<oneshot::Receiver<End>>,
    end: Option<oneshot::Sender<End>>,
}

impl KeyQueues {
    /// Takes the next place of this key. To be called in the order of arrival.
    pub(super) fn enter(&self, key: String) -> Turn {
        let (end, ended) = oneshot::channel();
        let mut last = self.last.lock();
        let before = last.remove(&key);
        let number = before.as_ref().map_or(0, |(number, _)| number + 1);
        last.insert(key.clone(), (number, ended));
        drop(last);
        Turn {
            queues: self.clone(),
            key,
            number,
            before: before.map(|(_, before)| before),
            end: Some(end),
        }
    }
}

impl Turn {
    /// Returns the ordering key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Waits for the turn before this one, and returns how it ended.
    pub(super) async fn wait(&mut self) -> End {
        let Some(before) = &mut self.before else {
            return End::Settled;
        };
        let end = before.await.unwrap_or(End::GivenBack);
        self.before = None;
        end
    }

    /// Lets the next turn begin.
    pub(super) fn end(mut self, end: End) {
        self.leave(end);
    }

    fn leave(&mut self, end: End) {
        let Some(next) = self.end.take() else { return };
        let mut last = self.queues.last.lock();
        if last
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            last.remove(&self.key);
        }
        drop(last);
        // The last turn of a key has no receiver.
        let _ = next.send(end);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave(End::GivenBack);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::{End, KeyQueues};

    #[test]
    fn turns_of_one_key_follow_each_other() {
        let queues = KeyQueues::default();
        let (mut first, mut second, mut other) = (
            queues.enter("a".into()),
            queues.enter("a".into()),
            queues.enter("b".into()),
        );
        assert_eq!(first.wait().now_or_never(), Some(End::Settled));
        assert_eq!(other.wait().now_or_never(), Some(End::Settled));
        assert_eq!(second.wait().now_or_never(), None);
        first.end(End::Settled);
        assert_eq!(second.wait().now_or_never(), Some(End::Settled));
        second.end(End::Settled);
        other.end(End::Settled);
        assert!(queues.last.lock().is_empty());
    }

    #[test]
    fn a_turn_learns_that_the_one_before_went_back() {
        let queues = KeyQueues::default();
        let (first, mut second) = (queues.enter("a".into()), queues.enter("a".into()));
        drop(first);
        assert_eq!(second.wait().now_or_never(), Some(End::GivenBack));
    }
}

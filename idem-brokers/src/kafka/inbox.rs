//! Messages that wait for the runner, and those in a pause.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use idem_runtime::Origin;
use parking_lot::Mutex;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{ID, KEY};
use super::partition::Partition;
use crate::error::BrokerError;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Delivery>,
    /// Messages in a pause, the one that is due first on top.
    delayed: BinaryHeap<Reverse<Delayed>>,
    broken: Option<BrokerError>,
}

/// A message in a pause.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    delivery: Delivery,
}

/// What the inbox has for the runner.
pub(super) enum Next {
    Delivery(Delivery),
    /// Nothing before this time, if there is one, or the next change.
    Wait(Option<Instant>),
}

impl Inbox {
    /// Returns how many messages are ready.
    pub(super) fn ready(&self) -> usize {
        self.state.lock().ready.len()
    }

    pub(super) fn push(&self, delivery: Delivery) {
        self.state.lock().ready.push_back(delivery);
        self.changed.notify_one();
    }

    /// Fails the session.
    pub(super) fn break_off(&self, error: BrokerError) {
        self.state.lock().broken = Some(error);
        self.changed.notify_one();
    }

    /// Removes the messages of revoked partitions.
    pub(super) fn remove_revoked(&self) {
        let mut state = self.state.lock();
        state
            .ready
            .retain(|delivery| delivery.partition.is_assigned());
        state
            .delayed
            .retain(|Reverse(delayed)| delayed.delivery.partition.is_assigned());
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for a change. Those since the last call count, so none is missed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the next message, unless `prefetch` messages are in a pause already. Calls `refill`
    /// when few messages are ready.
    pub(super) fn next(&self, prefetch: usize, refill: impl FnOnce()) -> Result<Next, BrokerError> {
        let mut state = self.state.lock();
        if let Some(error) = state.broken.take() {
            return Err(error);
        }
        let due = state.delayed.peek().map(|Reverse(delayed)| delayed.due);
        if due.is_some_and(|due| due <= Instant::now())
            && let Some(Reverse(delayed)) = state.delayed.pop()
        {
            return Ok(Next::Delivery(delayed.delivery));
        }
        if state.delayed.len() < prefetch
            && let Some(delivery) = state.ready.pop_front()
        {
            if state.ready.len() == prefetch || state.ready.is_empty() {
                refill();
            }
            return Ok(Next::Delivery(delivery));
        }
        Ok(Next::Wait(due))
    }
}

/// A message of a partition.
pub struct Delivery {
    inbox: Arc<Inbox>,
    partition: Arc<Partition>,
    offset: i64,
    key: Option<Vec<u8>>,
    payload: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    /// How often it was given back.
    redelivered: u32,
}

impl Delivery {
    pub(super) fn new(
        message: &BorrowedMessage<'_>,
        partition: Arc<Partition>,
        inbox: Arc<Inbox>,
    ) -> Self {
        let headers = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        Self {
            inbox,
            partition,
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers: headers
                .map(|one| (one.key.to_owned(), one.value.unwrap_or_default().to_vec()))
                .collect(),
            redelivered: 0,
        }
    }

    fn revoked(&self, doing: &'static str) -> BrokerError {
        let problem = format!(
            "partition {} of `{}` is no longer assigned to this consumer",
            self.partition.number, self.partition.topic
        );
        BrokerError::new("kafka", doing, problem)
    }
}

impl crate::Delivery for Delivery {
    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn origin(&self) -> Origin {
        let position = format!(
            "partition {}, offset {}",
            self.partition.number, self.offset
        );
        let mut origin = Origin::new("kafka", &*self.partition.topic).position(position);
        // Else it is not known: Kafka does not count deliveries to a consumer that died.
        if self.redelivered > 0 {
            origin = origin.redelivered(true);
        }
        let origin = self
            .key
            .iter()
            .fold(origin, |origin, key| origin.header_bytes(KEY, key));
        self.headers.iter().fold(origin, |origin, (name, value)| {
            match (name.as_str(), std::str::from_utf8(value)) {
                (ID, Ok(id)) => origin.message_id(id),
                (name, _) => origin.header_bytes(name, value),
            }
        })
    }

    fn redelivered(&self) -> Option<u32> {
        Some(self.redelivered)
    }

    /// Marks the message as finished, which the next commit tells the broker. An acked message is
    /// redelivered if the consumer dies before that.
    async fn ack(self) -> Result<(), BrokerError> {
        if self.partition.finish(self.offset) {
            Ok(())
        } else {
            Err(self.revoked("ack a message"))
        }
    }

    async fn retry(mut self, after: Duration) -> Result<(), BrokerError> {
        let inbox = Arc::clone(&self.inbox);
        let mut state = inbox.state.lock();
        // Checked under the lock, under which the messages of a revoked partition are removed.
        if !self.partition.is_assigned() {
            return Err(self.revoked("give a message back"));
        }
        self.redelivered += 1;
        state.delayed.push(Reverse(Delayed {
            due: Instant::now() + after,
            delivery: self,
        }));
        drop(state);
        inbox.changed.notify_one();
        Ok(())
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let position = (&self.partition.topic, self.partition.number, self.offset);
        f.debug_struct("Delivery")
            .field("position", &position)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due
            .cmp(&other.due)
            .then_with(|| self.delivery.offset.cmp(&other.delivery.offset))
    }
}

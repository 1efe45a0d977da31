//! A queue in memory for tests, which redelivers messages that are not acked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{Origin, clock::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::delivery::{self, Source};
use crate::error::BrokerError;
use crate::publish::{Message, Publisher};

/// A queue in memory, which is a [`Source`] and a [`Publisher`]. A clone is another handle to it.
#[derive(Debug, Clone)]
pub struct Queue {
    name: Arc<str>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Entry>,
    /// Delivered and not settled, or in a pause before redelivery.
    unacked: Vec<Entry>,
    published: Vec<Message>,
    connection: u64,
    down: bool,
    most_unacked: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Its index in `published`.
    offset: usize,
    message: Message,
    redelivered: u32,
    connection: u64,
}

impl Queue {
    /// Creates an empty queue.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            shared: Arc::default(),
        }
    }

    /// Appends a message without an id.
    pub fn publish(&self, payload: impl Into<Vec<u8>>) {
        self.push(Message::new(&*self.name, payload));
    }

    /// Appends a message.
    pub fn push(&self, message: Message) {
        let mut state = self.shared.state.lock();
        let offset = state.published.len();
        state.published.push(message.clone());
        state.ready.push_back(Entry {
            offset,
            message,
            redelivered: 0,
            connection: 0,
        });
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Breaks every connection, as a broker that dies does. Unacked messages will be redelivered.
    /// Connecting fails until [`come_back`](Self::come_back).
    pub fn go_down(&self) {
        let mut state = self.shared.state.lock();
        state.down = true;
        state.connection += 1;
        state.requeue();
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Accepts connections again.
    pub fn come_back(&self) {
        self.shared.state.lock().down = false;
        self.shared.changed.notify_waiters();
    }

    /// Delivers all messages that were ever published again, from the beginning.
    pub fn rewind(&self) {
        let mut state = self.shared.state.lock();
        let again: Vec<_> = state.published.iter().cloned().enumerate().collect();
        let again = again.into_iter().map(|(offset, message)| Entry {
            offset,
            message,
            redelivered: 0,
            connection: 0,
        });
        state.ready.extend(again);
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Waits until every message is acked.
    pub async fn until_empty(&self) {
        self.until(|state| state.ready.is_empty() && state.unacked.is_empty())
            .await;
    }

    /// Waits until at least this many messages were published, and returns all of them in order.
    pub async fn until_published(&self, messages: usize) -> Vec<Message> {
        self.until(|state| state.published.len() >= messages).await;
        self.shared.state.lock().published.clone()
    }

    /// Returns how many messages wait to be delivered.
    pub fn waiting(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// Returns how many messages are delivered and not acked, including those in a pause.
    pub fn unacked(&self) -> usize {
        self.shared.state.lock().unacked.len()
    }

    /// Returns the highest value that [`unacked`](Self::unacked) has had.
    pub fn most_unacked(&self) -> usize {
        self.shared.state.lock().most_unacked
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the check, so that no change is missed.
            changed.as_mut().enable();
            if reached(&self.shared.state.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl State {
    /// Puts unacked messages before all others, in the order of publishing.
    fn requeue(&mut self) {
        let mut again: Vec<_> = self.unacked.drain(..).collect();
        again.sort_by_key(|entry| std::cmp::Reverse(entry.offset));
        for entry in again {
            self.ready.push_front(Entry {
                redelivered: entry.redelivered + 1,
                ..entry
            });
        }
    }

    fn position(&self, entry: &Entry) -> Option<usize> {
        self.unacked
            .iter()
            .position(|one| one.offset == entry.offset && one.connection == entry.connection)
    }
}

impl Source for Queue {
    type Session = Session;

    fn name(&self) -> String {
        format!("memory:{}", self.name)
    }

    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        Some(Arc::new(self.clone()))
    }

    async fn connect(&self, _prefetch: usize) -> Result<Session, BrokerError> {
        let state = self.shared.state.lock();
        if state.down {
            return Err(BrokerError::new("memory", "connect", "the queue is down"));
        }
        Ok(Session {
            queue: self.clone(),
            number: state.connection,
        })
    }
}

/// A connection to a [`Queue`].
#[derive(Debug)]
pub struct Session {
    queue: Queue,
    number: u64,
}

impl delivery::Session for Session {
    type Delivery = Delivery;

    async fn next(&mut self, _room: usize) -> Result<Delivery, BrokerError> {
        loop {
            self.queue
                .until(|state| state.connection != self.number || !state.ready.is_empty())
                .await;
            let mut state = self.queue.shared.state.lock();
            if state.connection != self.number {
                return Err(BrokerError::new(
                    "memory",
                    "wait for a message",
                    "the connection is gone",
                ));
            }
            let Some(mut entry) = state.ready.pop_front() else {
                continue;
            };
            entry.connection = self.number;
            state.unacked.push(entry.clone());
            state.most_unacked = state.most_unacked.max(state.unacked.len());
            return Ok(Delivery {
                queue: self.queue.clone(),
                entry,
            });
        }
    }

    async fn close(self) {}
}

/// A message that a [`Queue`] delivered.
#[derive(Debug)]
pub struct Delivery {
    queue: Queue,
    entry: Entry,
}

impl Delivery {
    fn settle(self, after: Option<Duration>) -> Result<(), BrokerError> {
        let mut state = self.queue.shared.state.lock();
        let Some(position) = state.position(&self.entry) else {
            return Err(BrokerError::new(
                "memory",
                "settle a message",
                "its connection is gone",
            ));
        };
        if after.is_none() {
            state.unacked.remove(position);
        }
        drop(state);
        self.queue.shared.changed.notify_waiters();
        let Some(after) = after else { return Ok(()) };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let mut state = self.queue.shared.state.lock();
            // If the connection broke meanwhile, the message was redelivered already.
            let Some(position) = state.position(&self.entry) else {
                return;
            };
            let entry = state.unacked.remove(position);
            state.ready.push_back(Entry {
                redelivered: entry.redelivered + 1,
                ..entry
            });
            drop(state);
            self.queue.shared.changed.notify_waiters();
        });
        Ok(())
    }
}

impl delivery::Delivery for Delivery {
    fn payload(&self) -> &[u8] {
        &self.entry.message.payload
    }

    fn origin(&self) -> Origin {
        let message = &self.entry.message;
        let mut origin = Origin::new("memory", &*self.queue.name)
            .position(format!("offset {}", self.entry.offset))
            .redelivered(self.entry.redelivered > 0);
        if let Some(id) = &message.id {
            origin = origin.message_id(id);
        }
        message
            .headers
            .iter()
            .fold(origin, |origin, (name, value)| origin.header(name, value))
    }

    fn redelivered(&self) -> Option<u32> {
        Some(self.entry.redelivered)
    }

    async fn ack(self) -> Result<(), BrokerError> {
        self.settle(None)
    }

    async fn retry(self, after: Duration) -> Result<(), BrokerError> {
        self.settle(Some(after))
    }
}

impl Publisher for Queue {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            if self.shared.state.lock().down {
                return Err(BrokerError::new("memory", "publish", "the queue is down"));
            }
            self.push(message);
            Ok(())
        })
    }
}

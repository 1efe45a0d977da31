//! A queue in memory that behaves as a broker does, for tests of consumers: what is not acked comes
//! again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{Origin, clock::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::delivery::{Delivery, Session, Source};
use crate::error::BrokerError;
use crate::publish::{Message, Publisher};

/// A queue. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Queue {
    name: Arc<str>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Inside>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    ready: VecDeque<Entry>,
    /// Handed over and neither acked nor given back, or in a pause before it comes again.
    unacked: Vec<Entry>,
    published: Vec<Message>,
    connection: u64,
    down: bool,
    most_unacked: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Its place in what was published.
    offset: usize,
    message: Message,
    redelivered: u32,
    connection: u64,
}

impl Queue {
    /// An empty queue.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            shared: Arc::default(),
        }
    }

    /// Puts a message without an id at its end.
    pub fn publish(&self, payload: impl Into<Vec<u8>>) {
        self.push(Message::new(&*self.name, payload));
    }

    /// Puts a message at its end.
    pub fn push(&self, message: Message) {
        let mut inside = self.shared.state.lock();
        let offset = inside.published.len();
        inside.published.push(message.clone());
        inside.ready.push_back(Entry {
            offset,
            message,
            redelivered: 0,
            connection: 0,
        });
        drop(inside);
        self.shared.changed.notify_waiters();
    }

    /// Breaks every connection, as a broker that dies does: what was handed over and not acked is
    /// there again. Until [`come_back`](Self::come_back) nobody connects.
    pub fn go_down(&self) {
        let mut inside = self.shared.state.lock();
        inside.down = true;
        inside.connection += 1;
        inside.requeue();
        drop(inside);
        self.shared.changed.notify_waiters();
    }

    /// Takes connections again.
    pub fn come_back(&self) {
        self.shared.state.lock().down = false;
        self.shared.changed.notify_waiters();
    }

    /// Hands over everything that was ever published once more, from the beginning.
    pub fn rewind(&self) {
        let mut inside = self.shared.state.lock();
        let again: Vec<_> = inside.published.iter().cloned().enumerate().collect();
        let again = again.into_iter().map(|(offset, message)| Entry {
            offset,
            message,
            redelivered: 0,
            connection: 0,
        });
        inside.ready.extend(again);
        drop(inside);
        self.shared.changed.notify_waiters();
    }

    /// Waits until every message was acked.
    pub async fn until_empty(&self) {
        self.until(|inside| inside.ready.is_empty() && inside.unacked.is_empty())
            .await;
    }

    /// Waits until this many messages were published to it; gives them all, in their order.
    pub async fn until_published(&self, messages: usize) -> Vec<Message> {
        self.until(|inside| inside.published.len() >= messages)
            .await;
        self.shared.state.lock().published.clone()
    }

    /// How many messages are neither acked nor handed over.
    pub fn waiting(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// How many messages were handed over and are not acked yet, those in a pause included.
    pub fn unacked(&self) -> usize {
        self.shared.state.lock().unacked.len()
    }

    /// The most messages that were handed over and not acked at one time.
    pub fn most_unacked(&self) -> usize {
        self.shared.state.lock().most_unacked
    }

    async fn until(&self, reached: impl Fn(&Inside) -> bool) {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the look, so that no change is missed.
            changed.as_mut().enable();
            if reached(&self.shared.state.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl Inside {
    /// In the order they were published, before all others.
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
    type Session = Connection;

    fn name(&self) -> String {
        format!("memory:{}", self.name)
    }

    async fn connect(&self, _prefetch: usize) -> Result<Connection, BrokerError> {
        let inside = self.shared.state.lock();
        if inside.down {
            return Err(BrokerError::new("memory", "connect", "the queue is down"));
        }
        Ok(Connection {
            queue: self.clone(),
            number: inside.connection,
        })
    }
}

/// A connection to a [`Queue`].
#[derive(Debug)]
pub struct Connection {
    queue: Queue,
    number: u64,
}

impl Session for Connection {
    type Delivery = Handed;

    async fn next(&mut self, _room: usize) -> Result<Handed, BrokerError> {
        loop {
            self.queue
                .until(|inside| inside.connection != self.number || !inside.ready.is_empty())
                .await;
            let mut inside = self.queue.shared.state.lock();
            if inside.connection != self.number {
                return Err(BrokerError::new(
                    "memory",
                    "wait for a message",
                    "the connection is gone",
                ));
            }
            let Some(mut entry) = inside.ready.pop_front() else {
                continue;
            };
            entry.connection = self.number;
            inside.unacked.push(entry.clone());
            inside.most_unacked = inside.most_unacked.max(inside.unacked.len());
            return Ok(Handed {
                queue: self.queue.clone(),
                entry,
            });
        }
    }

    async fn close(self) {}
}

/// A message that a [`Queue`] handed over.
#[derive(Debug)]
pub struct Handed {
    queue: Queue,
    entry: Entry,
}

impl Handed {
    fn settle(self, after: Option<Duration>) -> Result<(), BrokerError> {
        let mut inside = self.queue.shared.state.lock();
        let Some(position) = inside.position(&self.entry) else {
            return Err(BrokerError::new(
                "memory",
                "settle a message",
                "its connection is gone",
            ));
        };
        if after.is_none() {
            inside.unacked.remove(position);
        }
        drop(inside);
        self.queue.shared.changed.notify_waiters();
        let Some(after) = after else { return Ok(()) };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let mut inside = self.queue.shared.state.lock();
            // A connection that broke meanwhile has brought it already.
            let Some(position) = inside.position(&self.entry) else {
                return;
            };
            let entry = inside.unacked.remove(position);
            inside.ready.push_back(Entry {
                redelivered: entry.redelivered + 1,
                ..entry
            });
            drop(inside);
            self.queue.shared.changed.notify_waiters();
        });
        Ok(())
    }
}

impl Delivery for Handed {
    fn payload(&self) -> &[u8] {
        &self.entry.message.payload
    }

    fn origin(&self) -> Origin {
        let message = &self.entry.message;
        let mut origin = Origin::new("memory", &*self.queue.name)
            .position(format!("offset {}", self.entry.offset));
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

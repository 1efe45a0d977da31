//! The partitions that are this consumer's now, and what was taken of them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::consume::Record;
use super::offsets::Offsets;
use crate::error::BrokerError;

/// A partition for as long as it is this consumer's. When it comes back it is another one.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    /// Nothing when it is not this consumer's any more.
    offsets: Mutex<Option<Offsets>>,
}

impl Partition {
    fn new(topic: &str, number: i32) -> Self {
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

    /// False when it is not this consumer's any more.
    pub(super) fn finish(&self, offset: i64) -> bool {
        self.offsets
            .lock()
            .as_mut()
            .map(|offsets| offsets.finish(offset))
            .is_some()
    }

    pub(super) fn is_ours(&self) -> bool {
        self.offsets.lock().is_some()
    }

    fn news(&self) -> Option<i64> {
        self.offsets.lock().as_mut().and_then(Offsets::news)
    }

    fn unheard(&self) {
        self.offsets.lock().iter_mut().for_each(Offsets::unheard);
    }

    /// From here on it is not this consumer's; what there is still to tell of it.
    fn end(&self) -> Option<i64> {
        self.offsets
            .lock()
            .take()
            .and_then(|mut offsets| offsets.news())
    }
}

/// What a consumer's thread, its session and its messages share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    assigned: Mutex<HashMap<(String, i32), Arc<Partition>>>,
    pub(super) inbox: Mutex<Inbox>,
    /// Something is in the inbox, or may be handed out of it.
    pub(super) arrived: Notify,
    /// What the thread has to look at beside messages.
    pub(super) events: AtomicU64,
    pub(super) stop: AtomicBool,
    thread: OnceLock<Thread>,
}

/// What waits to be handed over.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) ready: VecDeque<Record>,
    /// Given back, the one that is due first on top.
    pub(super) held: BinaryHeap<Reverse<Held>>,
    pub(super) broken: Option<BrokerError>,
}

/// A message that was given back.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) due: Instant,
    pub(super) record: Record,
}

impl Shared {
    pub(super) fn is_me(&self, thread: Thread) {
        // There is one thread.
        let _ = self.thread.set(thread);
    }

    /// Has the thread look.
    pub(super) fn wake(&self) {
        self.thread.get().into_iter().for_each(Thread::unpark);
    }

    pub(super) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.assigned.lock().values().cloned().collect()
    }

    pub(super) fn partition(&self, topic: &str, number: i32) -> Option<Arc<Partition>> {
        self.assigned
            .lock()
            .get(&(topic.to_owned(), number))
            .cloned()
    }

    /// The session is of no use any more.
    pub(super) fn break_off(&self, error: BrokerError) {
        self.inbox.lock().broken = Some(error);
        self.arrived.notify_one();
    }

    /// Tells the broker what is finished.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Context>) {
        let partitions = self.partitions();
        let news = partitions
            .iter()
            .filter_map(|partition| Some((&**partition, partition.news()?)));
        if let Err(error) = commit(consumer, news, CommitMode::Async) {
            tracing::warn!(%error, "Kafka was not told what is finished; it will be");
            partitions.iter().for_each(|partition| partition.unheard());
        }
    }

    /// Gives partitions up: says what is finished of them, and forgets what was taken.
    fn give_up(&self, consumer: &BaseConsumer<Context>, partitions: &[Arc<Partition>]) {
        let news: Vec<_> = partitions
            .iter()
            .filter_map(|partition| Some((&**partition, partition.end()?)))
            .collect();
        let mut inbox = self.inbox.lock();
        inbox.ready.retain(|record| record.partition.is_ours());
        inbox
            .held
            .retain(|Reverse(held)| held.record.partition.is_ours());
        drop(inbox);
        // A consumer that was away for too long has nothing to say any more.
        if !consumer.assignment_lost()
            && let Err(error) = commit(consumer, news.into_iter(), CommitMode::Sync)
        {
            tracing::warn!(%error, "Kafka was not told what is finished; it brings those messages again");
        }
        self.arrived.notify_one();
    }

    /// Gives everything up.
    pub(super) fn end(&self, consumer: &BaseConsumer<Context>) {
        let all: Vec<_> = self
            .assigned
            .lock()
            .drain()
            .map(|(_, partition)| partition)
            .collect();
        self.give_up(consumer, &all);
    }
}

fn commit<'a>(
    consumer: &BaseConsumer<Context>,
    news: impl Iterator<Item = (&'a Partition, i64)>,
    mode: CommitMode,
) -> KafkaResult<()> {
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in news {
        offsets.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))?;
    }
    if offsets.count() == 0 {
        return Ok(());
    }
    consumer.commit(&offsets, mode)
}

/// What librdkafka tells us, on the thread that polls.
#[derive(Debug)]
pub(super) struct Context(pub(super) Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, area: &str, message: &str) {
        tracing::debug!(?level, area, message, "librdkafka says");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka's client is in trouble");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let shared = &self.0;
        shared.events.fetch_add(1, Ordering::Relaxed);
        match rebalance {
            Rebalance::Assign(list) => {
                let mut assigned = shared.assigned.lock();
                for one in list.elements() {
                    let key = (one.topic().to_owned(), one.partition());
                    assigned.insert(key, Arc::new(Partition::new(one.topic(), one.partition())));
                }
                tracing::debug!(partitions = list.count(), "Kafka assigned partitions");
            }
            Rebalance::Revoke(list) => {
                let mut assigned = shared.assigned.lock();
                let keys = list
                    .elements()
                    .into_iter()
                    .map(|one| (one.topic().to_owned(), one.partition()));
                let revoked: Vec<_> = keys.filter_map(|key| assigned.remove(&key)).collect();
                drop(assigned);
                tracing::debug!(partitions = revoked.len(), "Kafka revoked partitions");
                shared.give_up(consumer, &revoked);
            }
            Rebalance::Error(_) => {}
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.0.events.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &result {
            tracing::warn!(%error, "Kafka did not take what is finished; it will be told again");
        }
        for one in offsets
            .elements()
            .iter()
            .filter(|one| result.is_err() || one.error().is_err())
        {
            self.0
                .partition(one.topic(), one.partition())
                .iter()
                .for_each(|partition| partition.unheard());
        }
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due
            .cmp(&other.due)
            .then_with(|| self.record.offset.cmp(&other.record.offset))
    }
}

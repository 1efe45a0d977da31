//! The assigned partitions, and the group's events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::inbox::Inbox;
use super::partition::Partition;

/// The state that a consumer's thread and its session share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    assigned: Mutex<HashMap<(String, i32), Arc<Partition>>>,
    pub(super) inbox: Arc<Inbox>,
    /// Counts the group's events, which a poll handles without returning them.
    pub(super) events: AtomicU64,
    /// Whether the last commit failed, which is logged once.
    commits_fail: AtomicBool,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Shared {
    pub(super) fn set_thread(&self, thread: Thread) {
        // A session has one thread.
        let _ = self.thread.set(thread);
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        self.thread.get().into_iter().for_each(Thread::unpark);
    }

    /// Stops the thread.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
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

    /// Commits what is finished.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Context>) {
        let partitions = self.partitions();
        let positions = partitions
            .iter()
            .filter_map(|partition| Some((&**partition, partition.next_commit()?)));
        if let Err(error) = commit(consumer, positions, CommitMode::Async) {
            self.commit_failed(&error);
            partitions
                .iter()
                .for_each(|partition| partition.commit_failed());
        }
    }

    fn commit_failed(&self, error: &KafkaError) {
        if !self.commits_fail.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "offsets were not committed to Kafka; committing them again until they are");
        }
    }

    /// Gives partitions up: commits what is finished, and drops the other messages.
    fn revoke(&self, consumer: &BaseConsumer<Context>, partitions: &[Arc<Partition>]) {
        let positions: Vec<_> = partitions
            .iter()
            .filter_map(|partition| Some((&**partition, partition.revoke()?)))
            .collect();
        self.inbox.remove_revoked();
        // A consumer whose assignment was lost may not commit any more.
        if !consumer.assignment_lost()
            && let Err(error) = commit(consumer, positions.into_iter(), CommitMode::Sync)
        {
            tracing::warn!(%error, "offsets were not committed to Kafka, which will redeliver finished messages");
        }
    }

    /// Gives all partitions up.
    pub(super) fn revoke_all(&self, consumer: &BaseConsumer<Context>) {
        let all: Vec<_> = self
            .assigned
            .lock()
            .drain()
            .map(|(_, partition)| partition)
            .collect();
        self.revoke(consumer, &all);
    }
}

fn commit<'a>(
    consumer: &BaseConsumer<Context>,
    positions: impl Iterator<Item = (&'a Partition, i64)>,
    mode: CommitMode,
) -> KafkaResult<()> {
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in positions {
        offsets.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))?;
    }
    if offsets.count() == 0 {
        return Ok(());
    }
    consumer.commit(&offsets, mode)
}

/// The callbacks of librdkafka, called by the thread that polls.
#[derive(Debug)]
pub(super) struct Context(pub(super) Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, area: &str, message: &str) {
        tracing::debug!(?level, area, message, "librdkafka log");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka's client reported an error");
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
                shared.revoke(consumer, &revoked);
            }
            Rebalance::Error(_) => {}
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.0.events.fetch_add(1, Ordering::Relaxed);
        match &result {
            Ok(()) => self.0.commits_fail.store(false, Ordering::Relaxed),
            Err(error) => self.0.commit_failed(error),
        }
        for one in offsets
            .elements()
            .iter()
            .filter(|one| result.is_err() || one.error().is_err())
        {
            self.0
                .partition(one.topic(), one.partition())
                .iter()
                .for_each(|partition| partition.commit_failed());
        }
    }
}

//! The thread that asks librdkafka for messages: it goes on while handlers run, or the group would
//! take its partitions away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

use super::assigned::{Context, Partition, Shared};
use super::consume::Record;
use super::failed;

/// How often the broker is told what is finished, and looked at in any case.
const TICK: Duration = Duration::from_millis(250);

/// A partition's own queue. Messages stay in it until there is room: so the thread can listen to
/// the group without taking any.
type Queue = (Arc<Partition>, PartitionQueue<Context>);

/// Until it is stopped; then it commits what is finished and leaves the group.
pub(super) fn run(consumer: Arc<BaseConsumer<Context>>, shared: &Arc<Shared>, room: usize) {
    let mut queues = Vec::new();
    let mut commit_at = Instant::now() + TICK;
    while !shared.stop.load(Ordering::Acquire) {
        listen(&consumer, shared, &mut queues);
        fill(&queues, shared, room);
        if Instant::now() >= commit_at {
            shared.commit(&consumer);
            commit_at = Instant::now() + TICK;
        }
        // Whatever comes wakes it.
        std::thread::park_timeout(commit_at.saturating_duration_since(Instant::now()));
    }
    shared.end(&consumer);
    // They hold the consumer, and its own end leaves the group.
    drop(queues);
    drop(consumer);
}

/// Hears what the group says, and takes what came before its partition had a queue of its own.
fn listen(consumer: &Arc<BaseConsumer<Context>>, shared: &Arc<Shared>, queues: &mut Vec<Queue>) {
    loop {
        let events = shared.events.load(Ordering::Relaxed);
        match consumer.poll(Duration::ZERO) {
            Some(Ok(message)) => take(
                &message,
                shared.partition(message.topic(), message.partition()),
                shared,
            ),
            Some(Err(error)) => trouble(error, shared),
            // An event is handled without a word, and others may be behind it.
            None if shared.events.load(Ordering::Relaxed) != events => {
                split(consumer, shared, queues)
            }
            None => return,
        }
    }
}

/// Gives each partition a queue of its own.
fn split(consumer: &Arc<BaseConsumer<Context>>, shared: &Arc<Shared>, queues: &mut Vec<Queue>) {
    queues.retain(|(partition, _)| partition.is_ours());
    for partition in shared.partitions() {
        if queues
            .iter()
            .any(|(known, _)| Arc::ptr_eq(known, &partition))
        {
            continue;
        }
        if let Some(mut queue) = consumer.split_partition_queue(&partition.topic, partition.number)
        {
            let woken = Arc::clone(shared);
            queue.set_nonempty_callback(move || woken.wake());
            queues.push((partition, queue));
        }
    }
}

/// Takes messages while there is room, one of each partition in turn.
fn fill(queues: &[Queue], shared: &Arc<Shared>, room: usize) {
    let mut free = room.saturating_sub(shared.inbox.lock().ready.len());
    let mut came = true;
    while came && free > 0 {
        came = false;
        for (partition, queue) in queues {
            if free == 0 {
                break;
            }
            match queue.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    take(&message, Some(Arc::clone(partition)), shared);
                    (came, free) = (true, free - 1);
                }
                Some(Err(error)) => trouble(error, shared),
                None => {}
            }
        }
    }
}

fn take(message: &BorrowedMessage<'_>, partition: Option<Arc<Partition>>, shared: &Arc<Shared>) {
    // One of a partition that is gone is another consumer's.
    let Some(partition) = partition.filter(|partition| partition.is_ours()) else {
        return;
    };
    partition.take(message.offset());
    let record = Record::new(message, partition, Arc::clone(shared));
    shared.inbox.lock().ready.push_back(record);
    shared.arrived.notify_one();
}

/// librdkafka has said what it is, and mends most things itself; what it cannot, ends the session.
fn trouble(error: KafkaError, shared: &Shared) {
    let for_good = match &error {
        KafkaError::MessageConsumptionFatal(_) => true,
        KafkaError::MessageConsumption(code) => matches!(
            code,
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::InconsistentGroupProtocol
                | RDKafkaErrorCode::AutoOffsetReset
        ),
        _ => false,
    };
    if for_good {
        shared.break_off(failed("wait for a message")(error));
    }
}

//! The thread that polls librdkafka. It polls while handlers run, too, so that the group does not
//! revoke the partitions.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

use super::assignment::{Context, Shared};
use super::connection::failed;
use super::inbox::Delivery;
use super::partition::Partition;

/// How often offsets are committed, and the consumer is polled at least.
const TICK: Duration = Duration::from_millis(250);

/// A partition's own queue. Messages stay in it until there is room, so that the thread can poll
/// the group's events without taking messages.
type Queue = (Arc<Partition>, PartitionQueue<Context>);

/// Polls until the session is stopped, then commits what is finished and leaves the group.
pub(super) fn run(consumer: Arc<BaseConsumer<Context>>, shared: &Arc<Shared>, room: usize) {
    let mut queues = Vec::new();
    let mut commit_at = Instant::now() + TICK;
    while !shared.is_stopped() {
        poll_events(&consumer, shared, &mut queues);
        fill(&queues, shared, room);
        if Instant::now() >= commit_at {
            shared.commit(&consumer);
            commit_at = Instant::now() + TICK;
        }
        // Messages, events and the session wake the thread.
        std::thread::park_timeout(commit_at.saturating_duration_since(Instant::now()));
    }
    shared.revoke_all(&consumer);
    // The queues hold the consumer, which leaves the group when it is dropped.
    drop(queues);
    drop(consumer);
}

/// Handles the group's events, and takes messages that arrived before their partition had a queue.
fn poll_events(
    consumer: &Arc<BaseConsumer<Context>>,
    shared: &Arc<Shared>,
    queues: &mut Vec<Queue>,
) {
    loop {
        let events = shared.events.load(Relaxed);
        match consumer.poll(Duration::ZERO) {
            Some(Ok(message)) => take(
                &message,
                shared.partition(message.topic(), message.partition()),
                shared,
            ),
            Some(Err(error)) => handle_error(error, shared),
            // An event was handled without being returned, and others may follow it.
            None if shared.events.load(Relaxed) != events => split(consumer, shared, queues),
            None => return,
        }
    }
}

/// Gives each partition a queue of its own.
fn split(consumer: &Arc<BaseConsumer<Context>>, shared: &Arc<Shared>, queues: &mut Vec<Queue>) {
    queues.retain(|(partition, _)| partition.is_assigned());
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

/// Takes messages while there is room, one from each partition in turn.
fn fill(queues: &[Queue], shared: &Arc<Shared>, room: usize) {
    let mut free = room.saturating_sub(shared.inbox.ready());
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
                Some(Err(error)) => handle_error(error, shared),
                None => {}
            }
        }
    }
}

fn take(message: &BorrowedMessage<'_>, partition: Option<Arc<Partition>>, shared: &Arc<Shared>) {
    // A message of a revoked partition is for another consumer.
    let Some(partition) = partition.filter(|partition| partition.is_assigned()) else {
        return;
    };
    partition.take(message.offset());
    let inbox = Arc::clone(&shared.inbox);
    shared.inbox.push(Delivery::new(message, partition, inbox));
}

/// Ends the session after an error from which librdkafka does not recover by itself. It has logged
/// the error.
fn handle_error(error: KafkaError, shared: &Shared) {
    let permanent = match &error {
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
    if permanent {
        shared.inbox.break_off(failed("wait for a message")(error));
    }
}

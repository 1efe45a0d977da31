//! One membership in a consumer group.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use idem_runtime::Origin;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::assigned::{Context, Held, Partition, Shared};
use super::{ANSWER, ID, KEY, failed, poll};
use crate::delivery::{Delivery, Session};
use crate::error::BrokerError;

/// One consumer of a group.
#[derive(Debug)]
pub struct Consuming {
    shared: Arc<Shared>,
    /// Given back and not due: no more than this, and so many wait ready at least.
    prefetch: usize,
    ended: oneshot::Receiver<()>,
}

impl Consuming {
    pub(super) async fn open(
        config: ClientConfig,
        topics: Vec<String>,
        prefetch: usize,
    ) -> Result<Self, BrokerError> {
        let shared = Arc::<Shared>::default();
        let joining = Arc::clone(&shared);
        let joined = tokio::task::spawn_blocking(move || join(&config, &topics, &joining)).await;
        let consumer =
            joined.map_err(|error| BrokerError::new("kafka", "join the group", error))??;
        let (end, ended) = oneshot::channel();
        let polled = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("idem-kafka".to_owned())
            .spawn(move || {
                polled.is_me(thread::current());
                // Twice what the runner holds, so that a handler never waits for the thread.
                poll::run(consumer, &polled, 2 * prefetch);
                // Nobody needs to wait for it.
                let _ = end.send(());
            });
        thread.map_err(|error| BrokerError::new("kafka", "start a thread", error))?;
        Ok(Self {
            shared,
            prefetch,
            ended,
        })
    }

    /// What can be handed over now, or when to look again.
    fn look(&self) -> Result<Record, Result<Option<Instant>, BrokerError>> {
        let mut inbox = self.shared.inbox.lock();
        if let Some(error) = inbox.broken.take() {
            return Err(Err(error));
        }
        let due = inbox.held.peek().map(|Reverse(held)| held.due);
        if due.is_some_and(|due| due <= Instant::now())
            && let Some(Reverse(held)) = inbox.held.pop()
        {
            return Ok(held.record);
        }
        if inbox.held.len() < self.prefetch
            && let Some(record) = inbox.ready.pop_front()
        {
            if inbox.ready.len() == self.prefetch || inbox.ready.is_empty() {
                self.shared.wake();
            }
            return Ok(record);
        }
        Err(Ok(due))
    }
}

/// Says what there is to say before the first message.
fn join(
    config: &ClientConfig,
    topics: &[String],
    shared: &Arc<Shared>,
) -> Result<Arc<BaseConsumer<Context>>, BrokerError> {
    let context = Context(Arc::clone(shared));
    let mut consumer: BaseConsumer<_> = config
        .create_with_context(context)
        .map_err(failed("make a client"))?;
    let woken = Arc::clone(shared);
    consumer.set_nonempty_callback(move || woken.wake());
    for topic in topics {
        let known = consumer
            .fetch_metadata(Some(topic), ANSWER)
            .map_err(|error| {
                // Why nobody answers, librdkafka says only to those who listen.
                while consumer.poll(Duration::ZERO).is_some() {}
                failed("connect")(error)
            })?;
        let error = known
            .topics()
            .iter()
            .find_map(rdkafka::metadata::MetadataTopic::error);
        if let Some(error) = error.map(RDKafkaErrorCode::from) {
            return Err(BrokerError::new(
                "kafka",
                format!("find the topic `{topic}`"),
                error,
            ));
        }
    }
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    consumer
        .subscribe(&topics)
        .map_err(failed("join the group"))?;
    Ok(Arc::new(consumer))
}

impl Session for Consuming {
    type Delivery = Record;

    async fn next(&mut self, _room: usize) -> Result<Record, BrokerError> {
        loop {
            let due = match self.look() {
                Ok(record) => return Ok(record),
                Err(Err(error)) => return Err(error),
                Err(Ok(due)) => due,
            };
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Its permit is kept, so nothing that arrives between the look and here is missed.
                () = self.shared.arrived.notified() => {}
                () = due => {}
            }
        }
    }

    async fn close(mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        // An error is a thread that is gone already.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Consuming {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
    }
}

/// A message of a partition.
pub struct Record {
    shared: Arc<Shared>,
    pub(super) partition: Arc<Partition>,
    pub(super) offset: i64,
    key: Option<Vec<u8>>,
    payload: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    /// How often it was given back.
    times: u32,
}

impl Record {
    pub(super) fn new(
        message: &BorrowedMessage<'_>,
        partition: Arc<Partition>,
        shared: Arc<Shared>,
    ) -> Self {
        let headers = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        Self {
            shared,
            partition,
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers: headers
                .map(|one| (one.key.to_owned(), one.value.unwrap_or_default().to_vec()))
                .collect(),
            times: 0,
        }
    }

    fn gone(&self, doing: &'static str) -> BrokerError {
        let problem = format!(
            "partition {} of `{}` is not ours any more",
            self.partition.number, self.partition.topic
        );
        BrokerError::new("kafka", doing, problem)
    }
}

impl Delivery for Record {
    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn origin(&self) -> Origin {
        let position = format!(
            "partition {}, offset {}",
            self.partition.number, self.offset
        );
        let origin = Origin::new("kafka", &*self.partition.topic).position(position);
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
        Some(self.times)
    }

    /// The broker hears it with the next commit, a moment later: what is acked and not committed
    /// when a consumer dies comes again.
    async fn ack(self) -> Result<(), BrokerError> {
        if self.partition.finish(self.offset) {
            Ok(())
        } else {
            Err(self.gone("ack a message"))
        }
    }

    async fn retry(mut self, after: Duration) -> Result<(), BrokerError> {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.inbox.lock();
        // Looked at under the lock: what a partition leaves in the inbox is taken out when it goes.
        if !self.partition.is_ours() {
            return Err(self.gone("give a message back"));
        }
        self.times += 1;
        inbox.held.push(Reverse(Held {
            due: Instant::now() + after,
            record: self,
        }));
        drop(inbox);
        shared.arrived.notify_one();
        Ok(())
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = (&self.partition.topic, self.partition.number, self.offset);
        f.debug_struct("Record")
            .field("place", &place)
            .finish_non_exhaustive()
    }
}

//! Consuming topics as a member of a group.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::assignment::{Context, Shared};
use super::connection::{PATIENCE, failed};
use super::inbox::{Delivery, Next};
use super::poll;
use crate::error::BrokerError;

/// A member of a consumer group.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    /// The most messages in a pause, and the fewest ready ones before more are polled.
    prefetch: usize,
    ended: oneshot::Receiver<()>,
}

impl Session {
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
                polled.set_thread(thread::current());
                // Twice what the runner holds, so that a handler never waits for the thread.
                poll::run(consumer, &polled, 2 * prefetch);
                // A session that was dropped does not wait.
                let _ = end.send(());
            });
        thread.map_err(|error| BrokerError::new("kafka", "start a thread", error))?;
        Ok(Self {
            shared,
            prefetch,
            ended,
        })
    }
}

/// Joins the group, and reports errors that would otherwise show up with the first message.
fn join(
    config: &ClientConfig,
    topics: &[String],
    shared: &Arc<Shared>,
) -> Result<Arc<BaseConsumer<Context>>, BrokerError> {
    let context = Context(Arc::clone(shared));
    let mut consumer: BaseConsumer<_> = config
        .create_with_context(context)
        .map_err(failed("create a client"))?;
    let woken = Arc::clone(shared);
    consumer.set_nonempty_callback(move || woken.wake());
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .map_err(|error| {
                // librdkafka reports the reason only to a consumer that polls.
                while consumer.poll(Duration::ZERO).is_some() {}
                failed("connect")(error)
            })?;
        let error = metadata
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

impl crate::Session for Session {
    type Delivery = Delivery;

    async fn next(&mut self, _room: usize) -> Result<Delivery, BrokerError> {
        let inbox = &self.shared.inbox;
        loop {
            let due = match inbox.next(self.prefetch, || self.shared.wake())? {
                Next::Delivery(delivery) => return Ok(delivery),
                Next::Wait(due) => due,
            };
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = inbox.changed() => {}
                () = due => {}
            }
        }
    }

    async fn close(mut self) {
        self.shared.stop();
        // An error means that the thread has ended already.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

//! The traits that a broker implements for the runner.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::Origin;

use crate::error::BrokerError;
use crate::publish::Publisher;

/// A message delivered by a broker. If it is neither acked nor given back, the broker redelivers it
/// when the connection, or the time that the broker allows for a delivery, ends.
pub trait Delivery: Send + Sync + 'static {
    /// Returns the message's bytes.
    fn payload(&self) -> &[u8];

    /// Returns where the message came from.
    fn origin(&self) -> Origin;

    /// Returns how often the broker delivered the message before, if the broker counts that.
    fn redelivered(&self) -> Option<u32> {
        None
    }

    /// Acknowledges the message. Called only after its result, or its dead letter, is durable.
    ///
    /// # Errors
    /// Returns an error if the broker was not reached. It will redeliver the message.
    fn ack(self) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Gives the message back for redelivery after at least this time; zero means at once.
    ///
    /// # Errors
    /// Returns an error if the broker was not reached. It will redeliver the message at a time of
    /// its own.
    fn retry(self, after: Duration) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Returns how often the broker expects [`in_progress`](Self::in_progress), or `None` if an
    /// open connection is enough.
    fn progress_every(&self) -> Option<Duration> {
        None
    }

    /// Tells the broker that the message is in progress.
    ///
    /// # Errors
    /// Returns an error if the broker was not reached.
    fn in_progress(&self) -> impl Future<Output = Result<(), BrokerError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// A connection that delivers messages.
pub trait Session: Send + 'static {
    /// The messages of this connection.
    type Delivery: Delivery;

    /// Waits for the next message, without a limit. `room` is how many messages the runner can take
    /// now, this one included: prefetch no more than that. The future is cancel safe.
    ///
    /// # Errors
    /// Returns an error if the connection broke. The runner closes it and connects again.
    fn next(
        &mut self,
        room: usize,
    ) -> impl Future<Output = Result<Self::Delivery, BrokerError>> + Send;

    /// Gives back prefetched messages and closes the connection. All deliveries are settled before,
    /// unless the connection broke.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A queue, stream or topic to take messages from.
pub trait Source: Send + Sync + 'static {
    /// A connection to the source.
    type Session: Session;

    /// Returns the names of the broker and the source, as in `rabbitmq:orders`. Metrics and logs use
    /// it.
    fn name(&self) -> String;

    /// Returns the [places](Origin::place) of its messages. The default is its [name](Self::name).
    fn places(&self) -> Vec<String> {
        vec![self.name()]
    }

    /// Returns a publisher to its broker, which sends dead letters back when a person says so. It
    /// connects with the first one. The default is none: they cannot be sent back.
    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        None
    }

    /// Returns the queue, topic, stream or subject to which a message of this origin goes back. The
    /// default is the origin's source.
    fn destination(&self, origin: &Origin) -> String {
        origin.source.clone()
    }

    /// Connects to the broker. The runner holds at most `prefetch` messages. After an error, and
    /// when a session breaks, it connects again with backoff.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached or does not have the source.
    fn connect(
        &self,
        prefetch: usize,
    ) -> impl Future<Output = Result<Self::Session, BrokerError>> + Send;
}

//! What a broker is to the runner: a source of deliveries, each of which is acked or comes again.

use std::time::Duration;

use idem_runtime::Origin;

use crate::error::BrokerError;

/// One message as a broker handed it over. What is neither acked nor given back, the broker brings
/// again when the connection or the time it allows for one ends.
pub trait Delivery: Send + Sync + 'static {
    /// The message's bytes.
    fn payload(&self) -> &[u8];

    /// Where it came from.
    fn origin(&self) -> Origin;

    /// How often the broker delivered it before, if it counts.
    fn redelivered(&self) -> Option<u32> {
        None
    }

    /// The broker may forget it. Called only after the result, or the dead letter, is durable.
    ///
    /// # Errors
    /// The broker did not hear it, and brings the message again.
    fn ack(self) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// It comes again, not before this much time; zero is at once.
    ///
    /// # Errors
    /// The broker did not hear it, and brings the message again when it likes.
    fn retry(self, after: Duration) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// How often the broker wants to hear [`in_progress`](Self::in_progress). Nothing where a
    /// connection is enough.
    fn progress_every(&self) -> Option<Duration> {
        None
    }

    /// Tells the broker that the message is still being worked on.
    ///
    /// # Errors
    /// It did not hear it.
    fn in_progress(&self) -> impl Future<Output = Result<(), BrokerError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// One connection's deliveries.
pub trait Session: Send + 'static {
    /// What it hands over.
    type Delivery: Delivery;

    /// The next message, however long it takes to come. `room` is how many the runner can take now,
    /// this one included: fetch no more ahead than that. Nothing is lost when the future is
    /// dropped.
    ///
    /// # Errors
    /// The connection is of no use any more; the runner makes another.
    fn next(
        &mut self,
        room: usize,
    ) -> impl Future<Output = Result<Self::Delivery, BrokerError>> + Send;

    /// Gives back what was fetched and not handed over, and ends the connection. Everything handed
    /// over is settled before, unless the connection broke.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A queue, stream or topic to take messages from.
pub trait Source: Send + Sync + 'static {
    /// A connection to it.
    type Session: Session;

    /// The broker's and the source's names, `rabbitmq:orders`: as in metrics, logs, and
    /// [`Origin`]s.
    fn name(&self) -> String;

    /// Connects. The runner holds `prefetch` messages at most. It comes again, with back-off, after
    /// an error and when a session breaks.
    ///
    /// # Errors
    /// The broker cannot be reached, or does not have the source.
    fn connect(
        &self,
        prefetch: usize,
    ) -> impl Future<Output = Result<Self::Session, BrokerError>> + Send;
}

//! Consumers register how the letters of their messages are run, and published to their sources
//! again.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::RwLock;
use serde::Serialize;

use super::registered::{Publisher, Runner, publisher, running};
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::protocol::{DeadLetter, Origin};

/// The running consumers, by the [place](Origin::place) of their messages, oldest first.
#[derive(Default)]
pub(crate) struct Consumers(RwLock<HashMap<String, Vec<Arc<Consumer>>>>);

/// A running consumer, as the letters of its messages see it.
pub(super) struct Consumer {
    /// The handler's name in letters of messages that reached no handler.
    name: String,
    pub(super) run: Runner,
    publish: OnceLock<Publisher>,
}

impl Consumers {
    /// Returns the consumers that may run a letter: the one that buried it first, then those of its
    /// source, the newest first.
    pub(super) fn of(&self, letter: &DeadLetter) -> Vec<Arc<Consumer>> {
        let Some(place) = letter.origin.as_ref().map(Origin::place) else {
            return Vec::new();
        };
        let mut found: Vec<_> = match self.0.read().get(&place) {
            Some(consumers) => consumers.iter().rev().cloned().collect(),
            None => return Vec::new(),
        };
        found.sort_by_key(|consumer| !consumer.buried(letter));
        found
    }

    /// Returns how the newest consumer of a place publishes to it.
    pub(super) fn publisher(&self, place: &str) -> Option<Publisher> {
        let places = self.0.read();
        let mut consumers = places.get(place)?.iter().rev();
        consumers.find_map(|consumer| consumer.publish.get().cloned())
    }

    fn remove(&self, places: &[String], gone: &Arc<Consumer>) {
        let mut known = self.0.write();
        for place in places {
            if let Some(consumers) = known.get_mut(place) {
                consumers.retain(|consumer| !Arc::ptr_eq(consumer, gone));
                if consumers.is_empty() {
                    known.remove(place);
                }
            }
        }
    }
}

impl Consumer {
    /// Returns whether this consumer wrote the letter, under its own name.
    pub(super) fn buried(&self, letter: &DeadLetter) -> bool {
        letter.is_buried() && letter.handler == self.name
    }
}

/// The registration of a consumer. Dropping it ends it.
#[must_use = "the registration ends when this is dropped"]
pub struct ConsumerRegistration {
    places: Vec<String>,
    consumer: Arc<Consumer>,
    // A function of the user's may hold an `Idem`: this must not keep it open in turn.
    shared: Weak<Shared>,
}

impl Idem {
    /// Registers a running consumer, so that the letters of its messages can be
    /// [run](crate::dead_letters::DeadLetters::run) and [published again](crate::dead_letters::DeadLetters::republish)
    /// without [`register_handler`](Self::register_handler) and [`register_publisher`](Self::register_publisher). It
    /// ends when the registration is dropped. The consumers of `idem-brokers` do this when they start.
    ///
    /// `places` are the [places](crate::Origin::place) of its messages, and `name` is the handler's name
    /// under which it [buries](Self::bury). `run` gets the bytes of a letter's
    /// [message](crate::DeadLetter::message) and returns the call of the handler, or why they cannot be
    /// decoded.
    ///
    /// A registered handler or publisher goes before a consumer, and a newer consumer of a place before
    /// an older one. A consumer whose first call is of another handler than the letter's runs nothing,
    /// and the next one is asked.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// use idem_runtime::{Error, Idem, Origin, dead_letters::RunOutcome, idempotent};
    ///
    /// #[idempotent(name = "orders.place", key = "order_no")]
    /// async fn place_order(order_no: String) -> Result<usize, Error> {
    ///     Ok(order_no.len())
    /// }
    ///
    /// let idem = Idem::open(folder.path())?;
    /// let consumer = idem.register_consumer(["rabbitmq:orders"], "orders.place", |bytes: &[u8]| {
    ///     let order_no = String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())?;
    ///     Ok(place_order(order_no))
    /// });
    /// let id = idem.bury("orders.place", "m-17", b"A-1", Origin::new("rabbitmq", "orders"), "no JSON").await?;
    /// assert_eq!(idem.dead_letters().run(&id).await?, RunOutcome::Done(3.into()));
    /// drop(consumer); // its letters can no longer be run here
    /// # Ok(()) }
    /// ```
    pub fn register_consumer<P, F, R, E>(
        &self,
        places: impl IntoIterator<Item = P>,
        name: impl Into<String>,
        run: impl Fn(&[u8]) -> Result<F, String> + Send + Sync + 'static,
    ) -> ConsumerRegistration
    where
        P: Into<String>,
        F: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize,
        E: Display,
    {
        let consumer = Arc::new(Consumer {
            name: name.into(),
            run: Arc::new(move |bytes| {
                let call = run(bytes)?;
                Ok(running(move || call))
            }),
            publish: OnceLock::new(),
        });
        let places: Vec<String> = places.into_iter().map(Into::into).collect();
        let mut known = self.shared().consumers.0.write();
        for place in &places {
            let consumers = known.entry(place.clone()).or_default();
            consumers.push(Arc::clone(&consumer));
        }
        drop(known);
        ConsumerRegistration {
            places,
            consumer,
            shared: Arc::downgrade(self.shared()),
        }
    }

    /// Returns whether a letter can be run here: its handler is registered, or a consumer of its source
    /// runs.
    pub fn can_run(&self, letter: &DeadLetter) -> bool {
        self.has_handler(&letter.handler) || !self.shared().consumers.of(letter).is_empty()
    }
}

impl ConsumerRegistration {
    /// Adds how the messages of its letters are published to their sources, as by
    /// [`Idem::register_publisher`]. The first one stays.
    pub fn publisher<F, E>(self, publish: impl Fn(DeadLetter) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        self.consumer.publish.get_or_init(|| publisher(publish));
        self
    }
}

impl Drop for ConsumerRegistration {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.consumers.remove(&self.places, &self.consumer);
        }
    }
}

impl fmt::Debug for ConsumerRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerRegistration")
            .field("places", &self.places)
            .field("name", &self.consumer.name)
            .finish_non_exhaustive()
    }
}

//! Single flight: of all the calls of one message in this process, one works and the others wait for what it gets.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::protocol::{Fingerprint, RecordId};

/// The messages that are in work in this process.
#[derive(Default)]
pub(crate) struct Flights {
    flights: Arc<Mutex<HashMap<RecordId, Arc<Flight>>>>,
}

/// One message in work.
pub(crate) struct Flight {
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The thread on which an async leader was first polled; nothing for a sync one, which needs no executor to go on.
    pub(crate) polled_on: Option<ThreadId>,
    ended: watch::Sender<Option<Ended>>,
}

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum Ended {
    /// With this result.
    Done(Arc<[u8]>),
    /// In another way: ask the ledger.
    Over,
}

/// The right to work on a message. When it is dropped, the others go on.
pub(crate) struct Seat {
    id: RecordId,
    flight: Arc<Flight>,
    flights: Arc<Mutex<HashMap<RecordId, Arc<Flight>>>>,
}

impl Flights {
    /// Takes the seat, or gives the flight of whoever has it.
    pub(crate) fn enter(
        &self,
        id: &RecordId,
        fingerprint: Option<Fingerprint>,
        blocking: bool,
    ) -> Result<Seat, Arc<Flight>> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(id) {
            return Err(Arc::clone(flight));
        }
        let polled_on = (!blocking).then(|| thread::current().id());
        let flight = Arc::new(Flight { fingerprint, polled_on, ended: watch::Sender::new(None) });
        flights.insert(id.clone(), Arc::clone(&flight));
        Ok(Seat { id: id.clone(), flight, flights: Arc::clone(&self.flights) })
    }
}

impl Flight {
    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Ended::Over),
            Err(_) => Ended::Over,
        }
    }
}

impl Seat {
    /// Gives the others the result. The one copy is made only where somebody waits.
    pub(crate) fn done(self, json: &[u8]) {
        if self.flight.ended.receiver_count() > 0 {
            self.flight.ended.send_replace(Some(Ended::Done(json.into())));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Out of the table first: whoever wakes up takes the next seat.
        self.flights.lock().remove(&self.id);
        self.flight.ended.send_if_modified(|ended| ended.is_none() && ended.replace(Ended::Over).is_none());
    }
}

//! Single flight: of all the calls of one message in this process, one works and the others wait
//! for what it gets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::protocol::{Fingerprint, RecordId};

/// The messages that are in work in this process.
#[derive(Default)]
pub(crate) struct Flights {
    table: Arc<Table>,
}

type Table = Mutex<HashMap<RecordId, Flight, RandomState>>;

/// One message in work.
struct Flight {
    fingerprint: Option<Fingerprint>,
    polled_on: Option<ThreadId>,
    /// Made by the first who waits: most messages have nobody waiting.
    ended: Option<watch::Sender<Option<Ended>>>,
}

/// A message in work, as one sees it who may wait for it.
pub(crate) struct Ahead {
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The thread on which an async leader was first polled; nothing for a sync one, which needs no
    /// executor to go on.
    pub(crate) polled_on: Option<ThreadId>,
    ended: watch::Receiver<Option<Ended>>,
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
    /// Until it is left.
    id: Option<RecordId>,
    table: Arc<Table>,
}

impl Flights {
    /// Takes the seat, or gives the flight of whoever has it.
    pub(crate) fn enter(
        &self,
        id: &RecordId,
        fingerprint: Option<Fingerprint>,
        blocking: bool,
    ) -> Result<Seat, Ahead> {
        let polled_on = (!blocking).then(|| thread::current().id());
        match self.table.lock().entry(id.clone()) {
            Entry::Vacant(free) => {
                free.insert(Flight {
                    fingerprint,
                    polled_on,
                    ended: None,
                });
                Ok(Seat {
                    id: Some(id.clone()),
                    table: Arc::clone(&self.table),
                })
            }
            Entry::Occupied(mut taken) => {
                let Flight {
                    fingerprint,
                    polled_on,
                    ended,
                } = taken.get_mut();
                let ended = ended
                    .get_or_insert_with(|| watch::Sender::new(None))
                    .subscribe();
                Err(Ahead {
                    fingerprint: *fingerprint,
                    polled_on: *polled_on,
                    ended,
                })
            }
        }
    }
}

impl Ahead {
    /// Waits for the end.
    pub(crate) async fn ended(mut self) -> Ended {
        match self.ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Ended::Over),
            // The seat was dropped.
            Err(_) => Ended::Over,
        }
    }
}

impl Seat {
    /// Gives the others the result.
    pub(crate) fn done(mut self, json: &Arc<[u8]>) {
        if let Some(ended) = self.leave() {
            ended.send_replace(Some(Ended::Done(Arc::clone(json))));
        }
    }

    /// Out of the table first: whoever wakes up takes the next seat.
    fn leave(&mut self) -> Option<watch::Sender<Option<Ended>>> {
        self.table.lock().remove(&self.id.take()?)?.ended
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

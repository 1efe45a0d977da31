//! Single flight: of all the calls of one message in this process, one leads and the others follow:
//! they get its result.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Recorded;
use crate::protocol::{Fingerprint, RecordId};

/// The messages that have a call in flight in this process.
#[derive(Default)]
pub(crate) struct SingleFlight {
    table: Arc<Table>,
}

type Table = Mutex<HashMap<RecordId, Flight, RandomState>>;

/// One message that has a call in flight.
struct Flight {
    fingerprint: Option<Fingerprint>,
    polled_on: Option<ThreadId>,
    /// Made by the first follower: most messages have none.
    ended: Option<watch::Sender<Option<LeaderEnd>>>,
}

/// An in-flight call, as seen by a duplicate.
pub(crate) struct Follower {
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The thread on which an async leader was first polled, or `None` for a sync one, which needs no
    /// executor to go on.
    pub(crate) polled_on: Option<ThreadId>,
    ended: watch::Receiver<Option<LeaderEnd>>,
}

/// How the leader ended.
#[derive(Clone)]
pub(crate) enum LeaderEnd {
    /// With this result.
    Done(Recorded),
    /// Without a result: ask the ledger.
    Other,
}

/// The right to work on a message. When it is dropped, the followers go on.
pub(crate) struct Leader {
    /// `None` once it has ended.
    id: Option<RecordId>,
    table: Arc<Table>,
}

impl SingleFlight {
    /// Returns the lead, or the call that has it.
    pub(crate) fn enter(
        &self,
        id: &RecordId,
        fingerprint: Option<Fingerprint>,
        blocking: bool,
    ) -> Result<Leader, Follower> {
        let polled_on = (!blocking).then(|| thread::current().id());
        match self.table.lock().entry(id.clone()) {
            Entry::Vacant(free) => {
                free.insert(Flight {
                    fingerprint,
                    polled_on,
                    ended: None,
                });
                Ok(Leader {
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
                Err(Follower {
                    fingerprint: *fingerprint,
                    polled_on: *polled_on,
                    ended,
                })
            }
        }
    }
}

impl Follower {
    /// Waits for the leader's end.
    pub(crate) async fn ended(mut self) -> LeaderEnd {
        match self.ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(LeaderEnd::Other),
            // The leader was dropped.
            Err(_) => LeaderEnd::Other,
        }
    }
}

impl Leader {
    /// Gives the followers the result.
    pub(crate) fn done(mut self, recorded: &Recorded) {
        if let Some(ended) = self.leave() {
            ended.send_replace(Some(LeaderEnd::Done(recorded.clone())));
        }
    }

    /// Leaves the table first: a follower that wakes up takes the lead.
    fn leave(&mut self) -> Option<watch::Sender<Option<LeaderEnd>>> {
        self.table.lock().remove(&self.id.take()?)?.ended
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.leave();
    }
}

//! Two changes of one letter never overlap.

use std::collections::HashMap;
use std::sync::Arc;

use idem_runtime::DeadLetterId;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Seats = Arc<Mutex<HashMap<DeadLetterId, Arc<tokio::sync::Mutex<()>>>>>;

/// A lock for each letter that somebody changes now.
#[derive(Default)]
pub(super) struct Locks(Seats);

/// Nobody else changes the letter while this is held.
pub(super) struct Held {
    seats: Seats,
    letter: DeadLetterId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    pub(super) async fn hold(&self, letter: DeadLetterId) -> Held {
        let seat = Arc::clone(self.0.lock().entry(letter).or_default());
        Held {
            seats: Arc::clone(&self.0),
            letter,
            guard: Some(seat.lock_owned().await),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut seats = self.seats.lock();
        // Whoever waits has a clone of the seat.
        if seats
            .get(&self.letter)
            .is_some_and(|seat| Arc::strong_count(seat) == 1)
        {
            seats.remove(&self.letter);
        }
    }
}

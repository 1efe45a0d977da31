//! Locks that keep two changes of one letter from overlapping.

use std::collections::HashMap;
use std::sync::Arc;

use idem_runtime::DeadLetterId;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Locks = Arc<Mutex<HashMap<DeadLetterId, Arc<tokio::sync::Mutex<()>>>>>;

/// A lock for each letter that is being changed.
#[derive(Default)]
pub(super) struct LetterLocks(Locks);

/// The lock of one letter, held until it is dropped.
pub(super) struct LetterLock {
    locks: Locks,
    letter: DeadLetterId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl LetterLocks {
    /// Waits for the letter's lock.
    pub(super) async fn lock(&self, letter: DeadLetterId) -> LetterLock {
        let lock = Arc::clone(self.0.lock().entry(letter).or_default());
        LetterLock {
            locks: Arc::clone(&self.0),
            letter,
            guard: Some(lock.lock_owned().await),
        }
    }
}

impl Drop for LetterLock {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut locks = self.locks.lock();
        // A waiter has a clone of the lock.
        if locks
            .get(&self.letter)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.letter);
        }
    }
}

//! Where the messages of one call of a handler wait for each other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::body::Guest;

/// The messages of one call that are to run.
pub(super) struct Table<T, R> {
    /// How many may join soon: nothing but the ledger's answer is missing.
    near: AtomicUsize,
    guests: Mutex<Guests<T, R>>,
}

struct Guests<T, R> {
    together: Vec<Guest<T, R>>,
    /// Those whose body has failed before, or was killed with its process. Each may have been the
    /// reason, so it has a body of its own.
    alone: VecDeque<Guest<T, R>>,
}

impl<T, R> Default for Table<T, R> {
    fn default() -> Self {
        Self {
            near: AtomicUsize::new(0),
            guests: Mutex::new(Guests {
                together: Vec::new(),
                alone: VecDeque::new(),
            }),
        }
    }
}

impl<T, R> Table<T, R> {
    /// Counts a message that may join soon.
    pub(super) fn near(&self) -> Near<'_> {
        self.near.fetch_add(1, Relaxed);
        Near {
            count: &self.near,
            is_near: true,
        }
    }

    /// Adds a message that is to run.
    pub(super) fn join(&self, guest: Guest<T, R>, with_others: bool) {
        let mut guests = self.guests.lock();
        match with_others {
            true => guests.together.push(guest),
            false => guests.alone.push_back(guest),
        }
    }

    /// Returns those that a body is to run for now: all that may come soon are here.
    pub(super) fn take(&self) -> Option<Vec<Guest<T, R>>> {
        let mut guests = self.guests.lock();
        if let Some(guest) = guests.alone.pop_front() {
            return Some(vec![guest]);
        }
        let are_all_here = self.near.load(Relaxed) == 0 && !guests.together.is_empty();
        are_all_here.then(|| std::mem::take(&mut guests.together))
    }
}

/// A message's place in the count.
pub(super) struct Near<'a> {
    count: &'a AtomicUsize,
    is_near: bool,
}

impl Near<'_> {
    /// Says whether the message may join soon.
    pub(super) fn set(&mut self, is_near: bool) {
        match (self.is_near, is_near) {
            (false, true) => drop(self.count.fetch_add(1, Relaxed)),
            (true, false) => drop(self.count.fetch_sub(1, Relaxed)),
            _ => {}
        }
        self.is_near = is_near;
    }
}

impl Drop for Near<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

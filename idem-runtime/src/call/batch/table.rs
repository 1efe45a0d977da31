//! Where the messages of one list wait for each other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::guest::Guest;
use super::near::Counts;
use crate::handler::bounds::Outcome;

/// The messages of one list that are to run.
pub(super) struct Table<T, R: Outcome> {
    near: AtomicUsize,
    guests: Mutex<Guests<T, R>>,
}

struct Guests<T, R: Outcome> {
    together: Vec<Guest<T, R>>,
    /// Those whose body has failed before, or was killed with its process, and the numbers of their
    /// attempts. Each may have been the reason, so each has a body of its own, one after the other.
    alone: VecDeque<(Guest<T, R>, u32)>,
    is_one_running: bool,
}

impl<T, R: Outcome> Default for Table<T, R> {
    fn default() -> Self {
        Self {
            near: AtomicUsize::new(0),
            guests: Mutex::new(Guests {
                together: Vec::new(),
                alone: VecDeque::new(),
                is_one_running: false,
            }),
        }
    }
}

impl<T, R: Outcome> Table<T, R> {
    pub(super) fn join(&self, guest: Guest<T, R>) {
        self.guests.lock().together.push(guest);
    }

    pub(super) fn join_alone(&self, guest: Guest<T, R>, number: u32) {
        self.guests.lock().alone.push_back((guest, number));
    }

    /// Returns those that a body is to run for now, and whether it is one alone: all that may come soon
    /// are here.
    pub(super) fn take(&self) -> Option<(Vec<Guest<T, R>>, bool)> {
        if self.near.load(Relaxed) > 0 {
            return None;
        }
        let mut guests = self.guests.lock();
        if !guests.together.is_empty() {
            return Some((std::mem::take(&mut guests.together), false));
        }
        if guests.is_one_running {
            return None;
        }
        // One that kills the process takes an attempt of all that are behind it: in the next process
        // they come before it.
        let (_, number) = guests.alone.front()?;
        let (guest, _) = match number % 2 {
            0 => guests.alone.pop_front(),
            _ => guests.alone.pop_back(),
        }?;
        guests.is_one_running = true;
        Some((vec![guest], true))
    }

    /// A body has ended.
    pub(super) fn ended(&self, was_alone: bool) {
        if was_alone {
            self.guests.lock().is_one_running = false;
        }
    }
}

impl<T, R: Outcome> Counts for Table<T, R> {
    fn comes_near(&self) {
        self.near.fetch_add(1, Relaxed);
    }

    fn is_near_no_more(&self) {
        self.near.fetch_sub(1, Relaxed);
    }
}

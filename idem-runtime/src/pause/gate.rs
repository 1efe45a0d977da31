//! The gate of one handler in this process: what is known of its pause, and what may run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::row::Row;
use super::state::{Pause, PauseState, Stored};
use crate::clock::until;
use crate::metrics;

/// There is a pause.
const PAUSED: u8 = 1;
/// Failures in a row are counted.
const COUNTING: u8 = 2;

/// With so many at a time in a recovery, the handler is no longer held back.
pub(super) const FULL: u32 = 64;
/// What a call is told where no time is known: a person decides, or another call is about to end.
const UNKNOWN: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(1);

/// One handler's gate. It costs a call of a handler that is not paused one relaxed load.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(super) handler: Arc<str>,
    flags: AtomicU8,
    inner: Mutex<Inner>,
    /// Notified of all that may let another message run.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) row: Row,
    pub(super) held: Option<Held>,
    /// The calls that were turned away and are in no note yet.
    pub(super) turned_away: u64,
    /// How many run in the recovery.
    running: u32,
    /// How many consumers have their turn.
    turns: u32,
}

/// A pause that this process knows of.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) stored: Stored,
    /// Its note's value; `None` until it is written.
    pub(super) note: Option<Vec<u8>>,
    /// How many may run at a time in the recovery.
    limit: u32,
    /// Whether a call of this process asks to be let through.
    asking: bool,
}

/// What a call finds at the gate.
pub(super) enum Entry {
    Open,
    /// It runs as one of a recovery.
    Slot,
    /// It may ask to be let through, to see.
    Ask,
    Closed(TurnedAway),
}

/// A call that the gate turned away.
#[derive(Debug)]
pub(crate) struct TurnedAway {
    pub(crate) after: Duration,
    pub(crate) why: String,
}

impl Gate {
    pub(super) fn new(handler: Arc<str>) -> Self {
        Self {
            handler,
            flags: AtomicU8::new(0),
            inner: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Returns whether nothing holds calls back.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & PAUSED == 0
    }

    /// Returns whether a success changes nothing here.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        self.flags.load(Ordering::Relaxed) == 0
    }

    /// Looks at what is behind the gate and may change it.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        let output = change(&mut inner);
        self.flags.store(inner.flags(), Ordering::Relaxed);
        output
    }

    /// Returns the pause that this process knows of.
    pub(super) fn known(&self) -> Option<Stored> {
        let inner = self.inner.lock();
        let held = inner.held.as_ref()?;
        let mut stored = held.stored.clone();
        stored.pause.turned_away += inner.turned_away;
        Some(stored)
    }

    /// Returns why and for how long a call is turned away now, if it is. Nothing is counted.
    pub(crate) fn closed(&self, now: Timestamp) -> Option<TurnedAway> {
        if self.is_open() {
            return None;
        }
        match self.inner.lock().entry(now) {
            Entry::Closed(away) => Some(away),
            _ => None,
        }
    }

    /// Lets a call in, or turns it away. One that may ask is the only one that does until
    /// [`asked`](Self::asked); the slot of a recovery is held until [`leaves`](Self::leaves).
    pub(super) fn enter(&self, now: Timestamp) -> Entry {
        let entry = self.with(|inner| {
            let entry = inner.entry(now);
            match (&entry, &mut inner.held) {
                (Entry::Slot, _) => inner.running += 1,
                (Entry::Ask, Some(held)) => held.asking = true,
                _ => {}
            }
            entry
        });
        if let Entry::Closed(_) = entry {
            self.turns_away();
        }
        entry
    }

    /// Counts a call that was turned away.
    pub(crate) fn turns_away(&self) {
        self.inner.lock().turned_away += 1;
        metrics::turned_away(&self.handler);
    }

    /// A call has its answer to whether it is let through.
    pub(super) fn asked(&self) {
        self.with(|inner| {
            if let Some(held) = &mut inner.held {
                held.asking = false;
            }
        });
        self.changed.notify_waiters();
    }

    /// A call of a recovery has ended.
    pub(super) fn leaves(&self) {
        self.with(|inner| inner.running = inner.running.saturating_sub(1));
        self.changed.notify_waiters();
    }

    /// Takes a turn for a consumer's message, or returns how long to wait at most before asking
    /// again. A turn of a handler that is not paused is not counted, and `false`.
    pub(super) fn take_turn(&self, now: Timestamp) -> Result<bool, Duration> {
        if self.is_open() {
            return Ok(false);
        }
        self.with(|inner| {
            let allowed = match (&inner.held, inner.entry(now)) {
                (_, Entry::Open) => return Ok(false),
                (_, Entry::Closed(away)) => return Err(away.after),
                (_, Entry::Ask) | (None, _) => 1,
                (Some(held), Entry::Slot) => held.limit,
            };
            if inner.turns >= allowed {
                return Err(SOON);
            }
            inner.turns += 1;
            Ok(true)
        })
    }

    /// Gives a turn back.
    pub(super) fn give_turn_back(&self) {
        self.with(|inner| inner.turns = inner.turns.saturating_sub(1));
        self.changed.notify_waiters();
    }

    /// Takes over what the pause is now, as it was written or read. Says when it began, and when it is
    /// over.
    pub(super) fn learn(&self, next: Option<(Stored, Option<Vec<u8>>)>, now: Timestamp) {
        let (before, after) = self.with(|inner| {
            let before = inner.held.take();
            inner.held = next.map(|(stored, note)| {
                let same = before.as_ref().filter(|held| held.stored.at == stored.at);
                Held {
                    limit: same.map_or(1, |held| held.limit),
                    asking: same.is_some_and(|held| held.asking),
                    stored,
                    note,
                }
            });
            inner.row = if before.is_some() && inner.held.is_none() {
                Row::after_a_pause()
            } else {
                Row::default()
            };
            let after = inner.held.as_ref().map(|held| held.stored.pause.clone());
            let mut before = before.map(|held| held.stored.pause);
            if after.is_none() {
                if let Some(before) = &mut before {
                    before.turned_away += inner.turned_away;
                }
                inner.turned_away = 0;
            }
            (before, after)
        });
        match (before, after) {
            (None, Some(pause)) => begins(&pause),
            (Some(pause), None) => ends(&pause, now),
            _ => {}
        }
        self.changed.notify_waiters();
    }
}

impl Inner {
    fn flags(&self) -> u8 {
        let paused = if self.held.is_some() { PAUSED } else { 0 };
        let counting = if self.row.is_empty() { 0 } else { COUNTING };
        paused | counting
    }

    fn entry(&self, now: Timestamp) -> Entry {
        let Some(held) = &self.held else {
            return Entry::Open;
        };
        let pause = &held.stored.pause;
        let closed = |after| {
            Entry::Closed(TurnedAway {
                after,
                why: pause.why.clone(),
            })
        };
        match (pause.state, pause.retry_at) {
            (PauseState::Recovering, _) if self.running < held.limit => Entry::Slot,
            (PauseState::Recovering, _) => closed(SOON),
            _ if held.asking => closed(SOON),
            _ if held.stored.is_due(now) => Entry::Ask,
            (_, Some(at)) => closed(until(at, now)),
            (_, None) => closed(UNKNOWN),
        }
    }

    /// Counts a success of a recovery. Returns whether the recovery is over.
    pub(super) fn grows(&mut self) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        held.limit = held.limit.saturating_mul(2).min(FULL);
        held.limit >= FULL && held.stored.pause.state == PauseState::Recovering
    }
}

fn begins(pause: &Pause) {
    metrics::paused(&pause.handler, true);
    tracing::warn!(
        handler = pause.handler,
        why = pause.why,
        by = pause.by,
        "the handler is paused, and its messages wait"
    );
}

fn ends(pause: &Pause, now: Timestamp) {
    metrics::paused(&pause.handler, false);
    tracing::info!(
        handler = pause.handler,
        seconds = until(now, pause.since).as_secs(),
        turned_away = pause.turned_away,
        "the handler is no longer paused"
    );
}

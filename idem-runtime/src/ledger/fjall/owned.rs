//! The runners that have lived since the opening, and the rows that runners own.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::clock::after;
use crate::ledger::folder::record_key::RecordKey;
use crate::ledger::shared::{Owner, Runner};

/// The runners that have lived since the opening, by the ends of their leases; `None` for a dead one. The
/// runners of before are not known, which is the same as dead.
#[derive(Default)]
pub(super) struct Runners(HashMap<Runner, Option<Timestamp>, RandomState>);

impl Runners {
    /// Returns what is known of a runner that owns a row.
    pub(super) fn owner(&self, runner: &str) -> Owner {
        match self.0.get_key_value(runner) {
            Some((runner, Some(until))) => Owner::Until(Runner::clone(runner), *until),
            _ => Owner::Dead,
        }
    }

    pub(super) fn is_dead(&self, runner: &str) -> bool {
        self.owner(runner) == Owner::Dead
    }

    /// Says that a runner lives for another lease. Returns whether it does: a dead one stays dead.
    pub(super) fn beat(&mut self, runner: &Runner, lease: Duration, now: Timestamp) -> bool {
        let life = self.0.entry(Runner::clone(runner)).or_insert(Some(now));
        if life.is_some() {
            *life = Some(after(now, lease));
        }
        life.is_some()
    }

    /// Marks a runner dead, unless its lease is another one than `until` or has not ended. Returns whether
    /// it is dead now.
    pub(super) fn retire(&mut self, runner: &Runner, until: Option<Timestamp>, now: Timestamp) -> bool {
        let is_over = match self.owner(runner) {
            Owner::Until(_, lease) => until.is_none_or(|until| lease == until && lease <= now),
            Owner::Dead | Owner::None => true,
        };
        if is_over {
            self.0.insert(Runner::clone(runner), None);
        }
        is_over
    }

    fn is_over(&self, runner: &str, now: Timestamp) -> bool {
        match self.owner(runner) {
            Owner::Until(_, lease) => lease <= now,
            Owner::Dead | Owner::None => true,
        }
    }
}

/// The rows that runners own.
#[derive(Default)]
pub(super) struct Owned(HashMap<RecordKey, Runner, RandomState>);

impl Owned {
    /// Notes whose a row is.
    pub(super) fn set(&mut self, row: RecordKey, owner: Option<Runner>) {
        match owner {
            Some(owner) => drop(self.0.insert(row, owner)),
            None => drop(self.0.remove(&row)),
        }
    }

    /// Returns the rows whose runners are dead or late.
    pub(super) fn left(&self, runners: &Runners, now: Timestamp) -> BTreeSet<RecordKey> {
        let left = self.0.iter().filter(|(_, owner)| runners.is_over(owner, now));
        left.map(|(row, _)| row.clone()).collect()
    }
}

//! The runners that have lived since the opening, and the rows that runners own.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use super::group::Before;
use super::rows::Stored;
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
    pub(super) fn retire(
        &mut self,
        runner: &Runner,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
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

/// The rows that runners own, and the lists of them that are stored.
#[derive(Default)]
pub(super) struct Owned {
    rows: HashMap<RecordKey, Held, RandomState>,
    /// How many rows of the list of a group have still the owner that they got in it.
    lists: HashMap<u64, usize, RandomState>,
    /// The lists of which none has: they are removed with the next group.
    emptied: Vec<u64>,
}

/// A row that a runner owns.
pub(super) struct Held {
    pub(super) owner: Runner,
    pub(super) row: Before,
    /// The group in whose list it stands.
    pub(super) group: u64,
}

impl Held {
    /// Returns what is known of a row that is stored, if it has an owner.
    pub(super) fn read(row: &[u8], group: u64) -> Option<Self> {
        let stored = Stored::read(row).ok()?;
        Some(Self {
            owner: stored.owner?.into(),
            row: Before::stored(&stored),
            group,
        })
    }
}

impl Owned {
    pub(super) fn get(&self, row: &RecordKey) -> Option<&Held> {
        self.rows.get(row)
    }

    /// Returns the lists of which no row has the owner any more that it got there.
    pub(super) fn emptied(&self) -> impl Iterator<Item = u64> + '_ {
        self.emptied.iter().copied()
    }

    /// Notes which rows got owners in a group, and which had one. What was [emptied](Self::emptied) before
    /// is removed.
    pub(super) fn apply(&mut self, group: u64, written: Vec<(RecordKey, Option<Held>)>) {
        self.emptied.clear();
        self.note(group, written);
    }

    /// Notes the rows of a list that is stored, with the owners that they have. Later lists come later.
    pub(super) fn read_stored(&mut self, group: u64, rows: Vec<(RecordKey, Option<Held>)>) {
        match rows.iter().any(|(_, held)| held.is_some()) {
            true => self.note(group, rows),
            false => self.emptied.push(group),
        }
    }

    fn note(&mut self, group: u64, rows: Vec<(RecordKey, Option<Held>)>) {
        let mut left = Vec::new();
        for (row, held) in rows {
            let before = match held {
                Some(held) => {
                    *self.lists.entry(group).or_default() += 1;
                    left.push(group);
                    self.rows.insert(row, held)
                }
                None => self.rows.remove(&row),
            };
            if let Some(before) = before {
                self.lists.entry(before.group).and_modify(|rows| *rows -= 1);
                left.push(before.group);
            }
        }
        for group in left {
            if self.lists.get(&group) == Some(&0) {
                self.lists.remove(&group);
                self.emptied.push(group);
            }
        }
    }

    /// Returns the rows whose runners are dead or late.
    pub(super) fn left(&self, runners: &Runners, now: Timestamp) -> BTreeSet<RecordKey> {
        let rows = self.rows.iter();
        let left = rows.filter(|(_, held)| runners.is_over(&held.owner, now));
        left.map(|(row, _)| row.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::shared::Write;
    use crate::protocol::RecordId;

    fn row(key: &str) -> RecordKey {
        RecordKey::new(&RecordId::new("handler", key))
    }

    fn held(group: u64) -> Option<Held> {
        let owner = Runner::from("runner");
        let write = Write::new(RecordId::new("handler", "key"), None, 1);
        let row = Before::of(&write);
        Some(Held { owner, row, group })
    }

    #[test]
    fn a_list_goes_when_its_last_row_has_ended() {
        let mut owned = Owned::default();
        owned.apply(1, vec![(row("A"), held(1)), (row("B"), held(1))]);
        owned.apply(
            2,
            vec![
                (row("A"), None),
                (row("C"), held(2)),
                (row("C"), None),
                (row("D"), held(2)),
            ],
        );
        assert_eq!(owned.emptied().count(), 0);
        // Another claim of a row takes it out of the list of the one before.
        owned.apply(3, vec![(row("B"), held(3))]);
        assert!(owned.emptied().eq([1]));
        owned.apply(
            4,
            vec![(row("E"), held(4)), (row("E"), None), (row("D"), None)],
        );
        let mut emptied: Vec<_> = owned.emptied().collect();
        emptied.sort_unstable();
        assert_eq!(emptied, [2, 4]);
        owned.apply(5, Vec::new());
        assert_eq!(owned.emptied().count(), 0);
        assert_eq!(
            owned
                .left(&Runners::default(), Timestamp::MAX)
                .into_iter()
                .collect::<Vec<_>>(),
            [row("B")]
        );
    }
}

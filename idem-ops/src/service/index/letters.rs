//! The letters of the index, by id, by kind and state, and by key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use idem_runtime::clock::Timestamp;
use idem_runtime::{DeadLetter, DeadLetterId, LetterState};

use super::Reach;
use crate::alert::kind_of_error;
use crate::service::letters::StateFilter;

/// The letters, and what finds them.
#[derive(Default)]
pub(super) struct Letters {
    pub(super) all: BTreeMap<DeadLetterId, Entry>,
    /// Each letter once, so that a page and its total cost as much as there are kinds, not letters.
    pub(super) kinds: HashMap<Arc<Kind>, ByState>,
    /// By the key's hash alone; one set of pairs, since most keys have one letter.
    pub(super) keys: BTreeSet<(u64, DeadLetterId)>,
    /// The number of open letters.
    pub(super) open: u64,
    /// Grows with every change, so that a page read before a change does not undo it.
    pub(super) version: u64,
    pub(super) reach: Reach,
}

/// A handler and a kind of error.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) handler: String,
    pub(super) error: String,
}

/// The letters of one kind, by their state.
#[derive(Default)]
pub(super) struct ByState([BTreeSet<DeadLetterId>; 3]);

/// The states in the order of [`ByState`].
pub(super) const STATES: [StateFilter; 3] = [
    StateFilter::Open,
    StateFilter::Redriven,
    StateFilter::Discarded,
];

impl ByState {
    fn open(&self) -> &BTreeSet<DeadLetterId> {
        &self.0[0]
    }

    /// Returns the letters of a state, unless the state is unknown here.
    fn in_state(&mut self, state: LetterState) -> Option<&mut BTreeSet<DeadLetterId>> {
        let at = STATES.iter().position(|filter| filter.takes(state))?;
        self.0.get_mut(at)
    }

    /// Returns the sets that the filter takes.
    pub(super) fn matching(
        &self,
        filter: StateFilter,
    ) -> impl Iterator<Item = &BTreeSet<DeadLetterId>> {
        let fits = move |state: StateFilter| filter == StateFilter::Any || filter == state;
        self.0
            .iter()
            .zip(STATES)
            .filter(move |(_, state)| fits(*state))
            .map(|(ids, _)| ids)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeSet::is_empty)
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Arc<Kind>,
    /// The key's hash.
    pub(super) key: u64,
    pub(super) state: LetterState,
    pub(super) died_at: Timestamp,
    /// The version at which it was put.
    pub(super) version: u64,
}

impl Letters {
    /// Returns the kinds that have open letters, with those letters.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Arc<Kind>, &BTreeSet<DeadLetterId>)> {
        self.kinds
            .iter()
            .map(|(kind, ids)| (kind, ids.open()))
            .filter(|(_, open)| !open.is_empty())
    }

    pub(super) fn put(&mut self, letter: &DeadLetter, key: u64) {
        self.remove(letter.id);
        let kind = Kind {
            handler: letter.handler.clone(),
            error: kind_of_error(letter),
        };
        let kind = self
            .kinds
            .get_key_value(&kind)
            .map_or_else(|| Arc::new(kind), |(kind, _)| Arc::clone(kind));
        if let Some(ids) = self
            .kinds
            .entry(Arc::clone(&kind))
            .or_default()
            .in_state(letter.state)
        {
            ids.insert(letter.id);
        }
        self.open += u64::from(letter.state == LetterState::Open);
        self.keys.insert((key, letter.id));
        let version = self.version;
        self.all.insert(
            letter.id,
            Entry {
                kind,
                key,
                state: letter.state,
                died_at: letter.died_at,
                version,
            },
        );
    }

    /// Removes the oldest letters beyond `most`; returns whether the index is full.
    pub(super) fn make_room(&mut self, most: usize) -> bool {
        while self.all.len() > most
            && let Some(oldest) = self.all.first_key_value().map(|(id, _)| *id)
        {
            self.remove(oldest);
            if self.reach.is_known()
                && let Some((oldest, _)) = self.all.first_key_value()
            {
                self.reach = Reach::Down(*oldest);
            }
        }
        self.all.len() >= most
    }

    pub(super) fn remove(&mut self, id: DeadLetterId) {
        self.version += 1;
        let Some(entry) = self.all.remove(&id) else {
            return;
        };
        self.open -= u64::from(entry.state == LetterState::Open);
        self.keys.remove(&(entry.key, id));
        if let Some(ids) = self.kinds.get_mut(&entry.kind) {
            ids.in_state(entry.state).map(|ids| ids.remove(&id));
            if ids.is_empty() {
                self.kinds.remove(&entry.kind);
            }
        }
    }
}

//! Where every letter is, in memory: pages, groups and keys are found without reading the ledger through.
//!
//! It is filled by one walk through the ledger, newest first, in pages; kept current by what
//! this service does and by a look at the newest letters; and walked again when the ledger's own count of open letters
//! says that somebody else acted. Whatever is shown is read from the ledger, so a stale entry is never shown as true.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;

use idem_runtime::{DeadLetter, DeadLetterId, LetterState, Timestamp};
use parking_lot::Mutex;

use super::groups::{Group, GroupPage};
use super::letters::LetterQuery;
use crate::alert::kind_of_error;

/// Older letters than so many are not in the index, so that it stays under 200 MB.
pub(super) const MOST: usize = 1_000_000;

#[derive(Default)]
pub(super) struct Index {
    letters: Mutex<Letters>,
    hasher: RandomState,
}

#[derive(Default)]
struct Letters {
    all: BTreeMap<DeadLetterId, Entry>,
    /// Open ones only.
    groups: HashMap<Arc<Kind>, BTreeSet<DeadLetterId>>,
    kinds: HashMap<Arc<Kind>, usize>,
    /// By the hash of the key alone; one set of pairs, for most keys have one letter.
    keys: BTreeSet<(u64, DeadLetterId)>,
    open: u64,
    /// Grows with every change, so that a page read before one does not undo it.
    version: u64,
    complete: bool,
}

/// A handler and a kind of error.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    handler: String,
    error: String,
}

#[derive(Debug)]
struct Entry {
    kind: Arc<Kind>,
    key: u64,
    state: LetterState,
    died_at: Timestamp,
    version: u64,
}

/// A page of ids.
pub(super) struct Found {
    pub(super) ids: Vec<DeadLetterId>,
    pub(super) total: u64,
    pub(super) complete: bool,
}

impl Index {
    /// How many open letters it knows, and whether it knows all.
    pub(super) fn open(&self) -> (u64, bool) {
        let letters = self.letters.lock();
        (letters.open, letters.complete)
    }

    pub(super) fn groups_count(&self) -> u64 {
        self.letters.lock().groups.len() as u64
    }

    pub(super) fn newest(&self) -> Option<DeadLetterId> {
        self.letters.lock().all.last_key_value().map(|(id, _)| *id)
    }

    pub(super) fn version(&self) -> u64 {
        self.letters.lock().version
    }

    /// A letter as it stands in the ledger now.
    pub(super) fn put(&self, letter: &DeadLetter) {
        let key = self.hasher.hash_one(&letter.key);
        self.letters.lock().put(letter, key);
    }

    /// A letter that is no longer in the ledger.
    pub(super) fn forget(&self, id: DeadLetterId) {
        self.letters.lock().remove(id);
    }

    /// A page of the walk: what stands in the ledger right before `after`, as read at `version`.
    pub(super) fn merge(&self, after: Option<DeadLetterId>, page: &[DeadLetter], last: bool, version: u64) {
        let mut letters = self.letters.lock();
        let lower = match page.last() {
            Some(oldest) if !last => Bound::Included(oldest.id),
            _ => Bound::Unbounded,
        };
        let upper = match (after, page.first()) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(newest)) => Bound::Included(newest.id),
            (None, None) => Bound::Unbounded,
        };
        let seen: BTreeSet<_> = page.iter().map(|letter| letter.id).collect();
        let gone: Vec<_> = letters
            .all
            .range((lower, upper))
            .filter(|(id, entry)| entry.version <= version && !seen.contains(id))
            .map(|(id, _)| *id)
            .collect();
        gone.into_iter().for_each(|id| letters.remove(id));
        for letter in page {
            if letters.all.get(&letter.id).is_none_or(|entry| entry.version <= version) {
                let key = self.hasher.hash_one(&letter.key);
                letters.put(letter, key);
            }
        }
        letters.complete |= last;
    }

    /// The ids a query asks for, newest first, and how many there are in all. `below` and `most` replace the query's own
    /// page.
    pub(super) fn find(&self, query: &LetterQuery, below: Option<DeadLetterId>, most: usize) -> Found {
        let letters = self.letters.lock();
        let fits = |entry: &Entry| {
            query.state.takes(entry.state)
                && query.handler.as_ref().is_none_or(|handler| *handler == entry.kind.handler)
                && query.error.as_ref().is_none_or(|error| *error == entry.kind.error)
        };
        let mut found = Found { ids: Vec::new(), total: 0, complete: letters.complete };
        let mut take = |id: DeadLetterId, entry: &Entry| {
            if fits(entry) {
                found.total += 1;
                if found.ids.len() < most && below.is_none_or(|below| id < below) {
                    found.ids.push(id);
                }
            }
        };
        match &query.key {
            Some(key) => {
                let hash = self.hasher.hash_one(key);
                let [first, last] = [[0; 16], [0xff; 16]].map(DeadLetterId::from_bytes);
                for (_, id) in letters.keys.range((hash, first)..=(hash, last)).rev() {
                    if let Some(entry) = letters.all.get(id) {
                        take(*id, entry);
                    }
                }
            }
            None => letters.all.iter().rev().for_each(|(id, entry)| take(*id, entry)),
        }
        found
    }

    pub(super) fn groups(&self, handler: Option<&str>, most: usize) -> GroupPage {
        let letters = self.letters.lock();
        let mut groups: Vec<_> =
            letters.groups.iter().filter(|(kind, _)| handler.is_none_or(|handler| handler == kind.handler)).collect();
        let total = groups.len() as u64;
        let open = groups.iter().map(|(_, ids)| ids.len() as u64).sum();
        groups.sort_by_key(|(_, ids)| (std::cmp::Reverse(ids.len()), std::cmp::Reverse(ids.last().copied())));
        let died = |id: Option<&DeadLetterId>| {
            id.and_then(|id| letters.all.get(id)).map_or(Timestamp::UNIX_EPOCH, |entry| entry.died_at)
        };
        let groups = groups.into_iter().take(most).map(|(kind, ids)| Group {
            handler: kind.handler.clone(),
            error: kind.error.clone(),
            count: ids.len() as u64,
            since: died(ids.first()),
            latest: died(ids.last()),
            newest: ids.iter().rev().take(5).copied().collect(),
            can_run: false,
        });
        GroupPage { groups: groups.collect(), total, open, complete: letters.complete }
    }
}

impl Letters {
    fn put(&mut self, letter: &DeadLetter, key: u64) {
        self.remove(letter.id);
        let kind = Kind { handler: letter.handler.clone(), error: kind_of_error(letter) };
        let kind = self.kinds.get_key_value(&kind).map_or_else(|| Arc::new(kind), |(kind, _)| Arc::clone(kind));
        *self.kinds.entry(Arc::clone(&kind)).or_default() += 1;
        if letter.state == LetterState::Open {
            self.open += 1;
            self.groups.entry(Arc::clone(&kind)).or_default().insert(letter.id);
        }
        self.keys.insert((key, letter.id));
        let version = self.version;
        self.all.insert(letter.id, Entry { kind, key, state: letter.state, died_at: letter.died_at, version });
    }

    fn remove(&mut self, id: DeadLetterId) {
        self.version += 1;
        let Some(entry) = self.all.remove(&id) else { return };
        if entry.state == LetterState::Open {
            self.open -= 1;
            if let Some(ids) = self.groups.get_mut(&entry.kind) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.groups.remove(&entry.kind);
                }
            }
        }
        self.keys.remove(&(entry.key, id));
        if let Some(letters) = self.kinds.get_mut(&entry.kind) {
            *letters -= 1;
            if *letters == 0 {
                self.kinds.remove(&entry.kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [`MOST`] letters of it are what the constant's comment says.
    const BYTES_A_LETTER: u128 = 200;

    #[test]
    fn a_letter_takes_at_most_so_many_bytes() {
        const COUNT: u128 = 20_000;
        let letter = |number: u128| -> DeadLetter {
            serde_json::from_value(serde_json::json!({
                "id": uuid::Uuid::from_u128(number), "handler": "orders.place", "key": format!("A-{number}"),
                "payload": {}, "reason": "budget_spent", "attempts": [], "state": "open", "instance": "here",
                "first_seen": "2026-11-22T00:00:00Z", "died_at": "2026-11-22T00:00:00Z",
            }))
            .unwrap()
        };
        let letters: Vec<_> = (0..COUNT).map(letter).collect();
        let index = Index::default();
        // As the walk brings them: newest first.
        let taken = allocation_counter::measure(|| letters.iter().rev().for_each(|letter| index.put(letter)));
        let each = u128::try_from(taken.bytes_current).unwrap() / COUNT;
        assert!(each <= BYTES_A_LETTER, "{each} bytes a letter");
        assert_eq!(
            index.find(&LetterQuery { key: Some("A-7".into()), ..LetterQuery::default() }, None, 9).ids.len(),
            1
        );
    }
}

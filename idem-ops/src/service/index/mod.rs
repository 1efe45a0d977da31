//! An index of the letters in memory, which finds pages, groups and keys without reading the whole
//! ledger.
//!
//! One scan of the ledger fills it, newest first, page by page. The changes of this service, those
//! that other replicas' entries in the audit log name, and a read of the newest letters keep it
//! current; a difference to the ledger's own count of open letters starts another scan. All letters that are shown are read from the ledger, so a stale
//! entry is never shown.

mod letters;
mod sync;

use std::collections::{BTreeSet, BinaryHeap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use idem_runtime::clock::Timestamp;
use idem_runtime::{DeadLetter, DeadLetterId};
use parking_lot::Mutex;

use super::groups::{Group, GroupPage};
use super::letters::LetterQuery;
use letters::{Entry, Kind, Letters};

/// The default size, which stays under 200 MB; older letters are not in the index.
pub(super) const MOST: usize = 1_000_000;

/// The newest letters of a ledger.
pub(super) struct Index {
    letters: Mutex<Letters>,
    hasher: RandomState,
    most: usize,
}

/// How far back the index goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// The first scan has not ended.
    #[default]
    Unknown,
    /// It holds every letter.
    Whole,
    /// It is full: it holds this letter and all newer ones.
    Down(DeadLetterId),
}

impl Reach {
    /// Whether the first scan has ended, so that the index has no gaps.
    pub(super) fn is_known(self) -> bool {
        self != Self::Unknown
    }

    /// Returns the oldest letter in the index, if there may be older ones in the ledger.
    pub(super) fn floor(self) -> Option<DeadLetterId> {
        match self {
            Self::Down(floor) => Some(floor),
            Self::Unknown | Self::Whole => None,
        }
    }
}

/// A page of ids.
pub(super) struct Found {
    pub(super) ids: Vec<DeadLetterId>,
    pub(super) total: u64,
    pub(super) reach: Reach,
}

impl Index {
    /// Creates an empty index of at most `most` letters, the newest.
    pub(super) fn new(most: usize) -> Self {
        Self {
            letters: Mutex::default(),
            hasher: RandomState::default(),
            most: most.max(1),
        }
    }

    /// Returns the number of open letters, and how far back the index goes.
    pub(super) fn open(&self) -> (u64, Reach) {
        let letters = self.letters.lock();
        (letters.open, letters.reach)
    }

    pub(super) fn groups_count(&self) -> u64 {
        self.letters.lock().groups().count() as u64
    }

    pub(super) fn newest(&self) -> Option<DeadLetterId> {
        self.letters.lock().all.last_key_value().map(|(id, _)| *id)
    }

    pub(super) fn version(&self) -> u64 {
        self.letters.lock().version
    }

    /// Puts a letter in as it is in the ledger now.
    pub(super) fn put(&self, letter: &DeadLetter) {
        let key = self.hasher.hash_one(&letter.key);
        let mut letters = self.letters.lock();
        if letters.reach.floor().is_none_or(|floor| letter.id >= floor) {
            letters.put(letter, key);
            letters.make_room(self.most);
        }
    }

    /// Removes a letter that is no longer in the ledger.
    pub(super) fn forget(&self, id: DeadLetterId) {
        self.letters.lock().remove(id);
    }

    /// Merges a page of the scan: the letters right before `after`, as read at `version`. Returns
    /// whether the scan has ended, because this is the last page or the index is full.
    pub(super) fn merge(
        &self,
        after: Option<DeadLetterId>,
        page: &[DeadLetter],
        last: bool,
        version: u64,
    ) -> bool {
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
            if letters
                .all
                .get(&letter.id)
                .is_none_or(|entry| entry.version <= version)
            {
                let key = self.hasher.hash_one(&letter.key);
                letters.put(letter, key);
            }
        }
        let full = letters.make_room(self.most);
        let oldest = letters.all.first_key_value().map(|(id, _)| *id);
        match (oldest, page.last().map(|letter| letter.id)) {
            (Some(oldest), Some(down_to)) if full && down_to <= oldest => {
                letters.reach = Reach::Down(oldest);
            }
            _ if last => letters.reach = Reach::Whole,
            (_, down_to) => {
                // There was room for letters below the floor.
                if let (Some(floor), Some(down_to)) = (letters.reach.floor(), down_to) {
                    letters.reach = Reach::Down(floor.min(down_to));
                }
                return false;
            }
        }
        true
    }

    /// Finds the letters of a query, newest first, and their number on all pages. `below` and
    /// `most` replace the query's own page; `earlier` has the handler's earlier names.
    pub(super) fn find(
        &self,
        query: &LetterQuery,
        earlier: &[String],
        below: Option<DeadLetterId>,
        most: usize,
    ) -> Found {
        let letters = self.letters.lock();
        let of_kind = |kind: &Kind| {
            query.is_of(&kind.handler, earlier)
                && query
                    .error
                    .as_ref()
                    .is_none_or(|error| *error == kind.error)
        };
        let reach = letters.reach;
        let Some(key) = &query.key else {
            let kinds = letters.kinds.iter().filter(|(kind, _)| of_kind(kind));
            let sets: Vec<_> = kinds
                .flat_map(|(_, ids)| ids.matching(query.state))
                .collect();
            let total = sets.iter().map(|ids| ids.len() as u64).sum();
            return Found {
                ids: newest(&sets, below, most),
                total,
                reach,
            };
        };
        let hash = self.hasher.hash_one(key);
        let [first, last] = [[0; 16], [0xff; 16]].map(DeadLetterId::from_bytes);
        let of_key = letters
            .keys
            .range((hash, first)..=(hash, last))
            .rev()
            .map(|(_, id)| *id);
        let fits = |entry: &Entry| query.state.takes(entry.state) && of_kind(&entry.kind);
        let mut ids: Vec<_> = of_key
            .filter(|id| letters.all.get(id).is_some_and(fits))
            .collect();
        let total = ids.len() as u64;
        ids.retain(|id| below.is_none_or(|below| *id < below));
        ids.truncate(most);
        Found { ids, total, reach }
    }

    /// Returns the largest groups of open letters.
    pub(super) fn groups(&self, handler: Option<&str>, most: usize) -> GroupPage {
        let letters = self.letters.lock();
        let mut groups: Vec<_> = letters
            .groups()
            .filter(|(kind, _)| handler.is_none_or(|handler| handler == kind.handler))
            .collect();
        let total = groups.len() as u64;
        let open = groups.iter().map(|(_, ids)| ids.len() as u64).sum();
        groups.sort_by_key(|(_, ids)| {
            (
                std::cmp::Reverse(ids.len()),
                std::cmp::Reverse(ids.last().copied()),
            )
        });
        let died = |id: Option<&DeadLetterId>| {
            id.and_then(|id| letters.all.get(id))
                .map_or(Timestamp::UNIX_EPOCH, |entry| entry.died_at)
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
        let (complete, at_least) = (letters.reach.is_known(), letters.reach.floor().is_some());
        GroupPage {
            groups: groups.collect(),
            total,
            open,
            complete,
            at_least,
        }
    }
}

/// Returns the newest ids of all sets that are older than `below`, newest first.
fn newest(
    sets: &[&BTreeSet<DeadLetterId>],
    below: Option<DeadLetterId>,
    most: usize,
) -> Vec<DeadLetterId> {
    let upper = below.map_or(Bound::Unbounded, Bound::Excluded);
    let mut walks: Vec<_> = sets
        .iter()
        .map(|ids| ids.range((Bound::Unbounded, upper)).rev())
        .collect();
    let mut heads: BinaryHeap<_> = walks
        .iter_mut()
        .enumerate()
        .filter_map(|(at, walk)| Some((*walk.next()?, at)))
        .collect();
    let mut found = Vec::new();
    while found.len() < most
        && let Some((id, at)) = heads.pop()
    {
        found.push(id);
        heads.extend(walks[at].next().map(|id| (*id, at)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::letters::STATES;
    use super::*;
    use crate::service::StateFilter;

    /// What the comment of [`MOST`] claims.
    const BYTES_A_LETTER: u128 = 200;

    fn letter(number: u128, handler: &str, key: &str, state: &str) -> DeadLetter {
        serde_json::from_value(serde_json::json!({
            "id": uuid::Uuid::from_u128(number), "handler": handler, "key": key,
            "payload": {}, "reason": "budget_spent", "attempts": [], "state": state, "instance": "here",
            "first_seen": "2026-11-22T00:00:00Z", "died_at": "2026-11-22T00:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn a_page_is_what_a_scan_of_every_letter_finds() {
        let (handlers, states) = (
            ["orders.place", "mails.send", "bills.pay"],
            ["open", "redriven", "discarded"],
        );
        let letters: Vec<_> = (0..300)
            .map(|number| {
                // Handlers and states do not alternate with the numbers.
                let mixed = number * number % 101;
                letter(
                    number as u128,
                    handlers[mixed % 3],
                    &format!("A-{}", mixed % 7),
                    states[mixed / 3 % 3],
                )
            })
            .collect();
        let index = Index::new(MOST);
        letters.iter().for_each(|letter| index.put(letter));
        index.forget(letters[7].id);
        index.put(&letters[9]);
        let letters: Vec<_> = letters
            .iter()
            .rev()
            .filter(|letter| letter.id != letters[7].id)
            .collect();
        for handler in [
            None,
            Some("mails.send".to_owned()),
            Some("unknown".to_owned()),
        ] {
            for key in [None, Some("A-3".to_owned())] {
                for state in STATES.into_iter().chain([StateFilter::Any]) {
                    let query = LetterQuery {
                        handler: handler.clone(),
                        key: key.clone(),
                        state,
                        ..LetterQuery::default()
                    };
                    let fits = |letter: &DeadLetter| {
                        handler
                            .as_ref()
                            .is_none_or(|handler| letter.handler == *handler)
                            && key.as_ref().is_none_or(|key| letter.key == *key)
                            && state.takes(letter.state)
                    };
                    let all: Vec<_> = letters
                        .iter()
                        .filter(|letter| fits(letter))
                        .map(|letter| letter.id)
                        .collect();
                    for below in [None, Some(letters[150].id)] {
                        let older = all
                            .iter()
                            .copied()
                            .filter(|id| below.is_none_or(|below| *id < below));
                        let found = index.find(&query, &[], below, 20);
                        assert_eq!(found.total, all.len() as u64, "{query:?}");
                        assert_eq!(
                            found.ids,
                            older.take(20).collect::<Vec<_>>(),
                            "{query:?} below {below:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_letter_takes_at_most_200_bytes() {
        const COUNT: u128 = 20_000;
        let letters: Vec<_> = (0..COUNT)
            .map(|number| letter(number, "orders.place", &format!("A-{number}"), "open"))
            .collect();
        let index = Index::new(MOST);
        // In the order of the scan: newest first.
        let taken = allocation_counter::measure(|| {
            letters.iter().rev().for_each(|letter| index.put(letter));
        });
        let each = u128::try_from(taken.bytes_current).unwrap() / COUNT;
        assert!(each <= BYTES_A_LETTER, "{each} bytes a letter");
        assert_eq!(
            index
                .find(
                    &LetterQuery {
                        key: Some("A-7".into()),
                        ..LetterQuery::default()
                    },
                    &[],
                    None,
                    9
                )
                .ids
                .len(),
            1
        );
    }
}

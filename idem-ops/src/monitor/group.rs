//! Letters by group.

use std::collections::BTreeMap;

use idem_runtime::{DeadLetter, DeadLetterId};

use super::store::hashed;
use crate::alert::{Brief, Group, kind_of_error};

/// The letters of a group that a notice shows.
const SHOWN: usize = 5;

/// A group as a notice shows it, and all its letters.
pub(super) struct Grouped {
    pub(super) shown: Group,
    pub(super) letters: Vec<DeadLetterId>,
}

/// Groups letters by handler and kind of error, under a short name of the group.
pub(super) fn group_letters(
    letters: &[(DeadLetterId, Option<DeadLetter>)],
) -> BTreeMap<String, Grouped> {
    let mut groups = BTreeMap::<String, Grouped>::new();
    // Newest first, as they are shown.
    for letter in letters
        .iter()
        .rev()
        .filter_map(|(_, letter)| letter.as_ref())
    {
        let error = kind_of_error(letter);
        let name = hashed(&[&letter.handler, &error]);
        let entry = groups
            .entry(format!("{name:032x}"))
            .or_insert_with(|| Grouped {
                shown: Group::new(&letter.handler, error, 0, letter.died_at),
                letters: Vec::new(),
            });
        entry.letters.push(letter.id);
        let group = &mut entry.shown;
        group.count += 1;
        group.since = group.since.min(letter.died_at);
        if group.newest.len() < SHOWN {
            group.newest.push(Brief::from(letter));
        }
    }
    groups
}

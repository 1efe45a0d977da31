//! What a group did that is taken back when its callers were told that nothing was recorded, and
//! the log has it all the same.
//!
//! A report is not taken back: it is brought again, and recognised. All else would be misread when
//! it is asked again: a claim as an attempt that crashed, an issued key as taken, a redriven letter
//! as closed.

use std::collections::{HashMap, HashSet};

use super::group::{Group, kind_of};
use super::layout::{CLOSED_LETTER, OPEN_LETTER, RecordKey, letter_key};
use crate::ledger::LedgerError;
use crate::protocol::{DeadLetter, DeadLetterId, Record, Reply, Step};

/// What a group did, in its order.
#[derive(Default)]
pub(super) struct Undo {
    steps: Vec<(RecordKey, Option<Before>)>,
    /// Notes that were not there before.
    created: HashSet<String>,
    /// Whether notes are taken back with the current job.
    pub(super) takes_notes: bool,
}

/// What a step changed, as it was.
struct Before {
    record: Option<Record>,
    letter: Option<DeadLetter>,
}

/// What taking a group back comes to.
#[derive(Default)]
pub(super) struct TakenBack {
    records: HashMap<RecordKey, Option<Record>>,
    letters: HashMap<DeadLetterId, DeadLetter>,
    notes: HashSet<String>,
}

/// Whether a step may be one that is taken back.
pub(super) fn may_take_back(step: &Step) -> bool {
    matches!(
        step,
        Step::Claim(_)
            | Step::Issue { .. }
            | Step::Redrive { .. }
            | Step::Discard { .. }
            | Step::Restore { .. }
            | Step::Edit { .. }
            | Step::Erase { .. }
    )
}

impl Undo {
    /// A step that changed something. `before` is the record that it found, where the step may be
    /// taken back.
    pub(super) fn step(
        &mut self,
        record_key: RecordKey,
        before: Option<Option<Record>>,
        letter: Option<DeadLetter>,
        reply: &Reply,
    ) {
        // A claim that wrote a letter is answered with it when it comes again.
        let before = before.filter(|_| !matches!(reply, Reply::DeadLettered(_)));
        self.steps
            .push((record_key, before.map(|record| Before { record, letter })));
    }

    /// A note that was written or removed.
    pub(super) fn note(&mut self, key: &str, created: bool) {
        if created && self.takes_notes {
            self.created.insert(key.to_owned());
        } else {
            self.created.remove(key);
        }
    }

    /// What stood before the group, except where a step that stays followed.
    pub(super) fn fold(self) -> TakenBack {
        let mut kept = HashSet::new();
        let mut back = TakenBack {
            notes: self.created,
            ..TakenBack::default()
        };
        // Backwards, so that what the group found first is what location.
        for (record_key, before) in self.steps.into_iter().rev() {
            match before {
                None => drop(kept.insert(record_key)),
                Some(_) if kept.contains(&record_key) => {}
                Some(Before { record, letter }) => {
                    back.records.insert(record_key, record);
                    back.letters
                        .extend(letter.map(|letter| (letter.id, letter)));
                }
            }
        }
        back
    }
}

impl TakenBack {
    pub(super) fn is_nothing(&self) -> bool {
        self.records.is_empty() && self.letters.is_empty() && self.notes.is_empty()
    }
}

impl Group<'_, '_> {
    /// Puts everything in place as it was before a group that is in the log.
    pub(super) fn take_back(&mut self, back: &TakenBack) -> Result<(), LedgerError> {
        for (record_key, record) in &back.records {
            let (_, location) = self.load(record_key)?;
            let record = record.clone().filter(|record| !record.expired(self.now));
            self.replace(record_key.clone(), location, record)?;
        }
        for letter in back.letters.values() {
            for kind in [OPEN_LETTER, CLOSED_LETTER]
                .into_iter()
                .filter(|kind| *kind != kind_of(letter))
            {
                self.batch
                    .remove(&letter_key(kind, letter.id), &mut self.state.meta)?;
            }
            self.put_letter(letter)?;
        }
        back.notes.iter().try_for_each(|key| self.note(key, None))
    }
}

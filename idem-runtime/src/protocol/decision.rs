//! A decision: the changes to write, and the reply.

use std::mem;
use std::sync::Arc;

use jiff::Timestamp;

use super::action::{Action, ActionKind, Actor};
use super::letter::{DeadLetter, DeadLetterId};
use super::note::{NoteChange, unnotified_key};
use super::record::Record;
use super::step::{Reply, Step};

/// The facts that a ledger gives to a decision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facts {
    /// The time of day.
    pub now: Timestamp,
    /// A fencing token larger than every one given out before.
    pub token: u64,
    /// An unused letter id.
    pub letter: DeadLetterId,
    /// The number of the ledger's opening, counted by a ledger of one process: a claim of another
    /// opening has a dead owner. 0 in a ledger that several processes share.
    pub session: u64,
    /// Whether a lease that has ended means a dead owner.
    pub leases: bool,
    /// Whether the owner of the record's running claim is known to be dead, whatever its lease
    /// says.
    pub dead_owner: bool,
    /// The instance that decides. A letter names it.
    pub instance: Arc<str>,
}

impl Facts {
    /// Returns facts with session 0 and without leases.
    pub fn new(
        now: Timestamp,
        token: u64,
        letter: DeadLetterId,
        instance: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            now,
            token,
            letter,
            session: 0,
            leases: false,
            dead_owner: false,
            instance: instance.into(),
        }
    }

    /// Sets the number of the ledger's opening.
    #[must_use]
    pub fn session(mut self, session: u64) -> Self {
        self.session = session;
        self
    }

    /// Sets whether the owner of the record's running claim is known to be dead.
    #[must_use]
    pub fn dead_owner(mut self, dead_owner: bool) -> Self {
        self.dead_owner = dead_owner;
        self
    }

    /// Sets whether a lease that has ended means a dead owner.
    #[must_use]
    pub fn leases(mut self, leases: bool) -> Self {
        self.leases = leases;
        self
    }
}

/// The changes to write, all of them or nothing, and the reply once they are durable.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The change of the record.
    pub record: Change,
    /// The change of the dead letters.
    pub letter: LetterChange,
    /// The reply.
    pub reply: Reply,
}

impl Decision {
    /// Returns a decision of these parts.
    pub fn new(record: Change, letter: LetterChange, reply: Reply) -> Self {
        Self {
            record,
            letter,
            reply,
        }
    }

    /// Returns the letter that an action changes, if there is one: [`writes`](Self::writes) needs
    /// it, read in the same critical section.
    pub fn acts_on(&self) -> Option<DeadLetterId> {
        match &self.letter {
            LetterChange::Action { letter, .. } => Some(*letter),
            LetterChange::Keep | LetterChange::Open(_) => None,
        }
    }

    /// Returns what a store has to write beside the record, which [`record`](Self::record) says.
    ///
    /// `letter` is the letter that the decision [acts on](Self::acts_on), if the ledger has it: if
    /// not, the decision becomes one that writes nothing. `next` returns the next number for a
    /// [note](super::Note).
    pub fn writes(
        &mut self,
        step: &Step,
        letter: Option<Box<DeadLetter>>,
        mut next: impl FnMut() -> u64,
    ) -> Writes {
        let notes = self.notes(step).iter();
        let mut notes: Vec<_> = notes.map(|note| note.numbered(&mut next)).collect();
        let letter = match (mem::replace(&mut self.letter, LetterChange::Keep), letter) {
            (LetterChange::Keep, _) => None,
            (LetterChange::Open(letter), _) => {
                notes.push((unnotified_key(letter.id), Some(Vec::new())));
                Some(letter)
            }
            (LetterChange::Action { act, .. }, Some(mut letter)) => {
                letter.act(*act);
                Some(letter)
            }
            (LetterChange::Action { .. }, None) => {
                *self = keep(Reply::LetterNotOpen);
                return Writes::default();
            }
        };
        Writes { letter, notes }
    }

    /// Returns the notes to write with the changes: those of a result that is recorded now.
    pub fn notes<'a>(&self, step: &'a Step) -> &'a [NoteChange] {
        match &self.record {
            Change::Put(_) => step.notes(),
            _ => &[],
        }
    }
}

/// What a store writes beside the record, all of it or nothing.
#[derive(Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Writes {
    /// The letter to write, new or changed.
    pub letter: Option<Box<DeadLetter>>,
    /// The notes' keys, and the values to write; without a value the note is removed.
    pub notes: Vec<(String, Option<Vec<u8>>)>,
}

/// A change of a record. A ledger carries out each kind, so the enum is exhaustive.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and most decisions put a record"
)]
pub enum Change {
    /// The record stays.
    Keep,
    /// The record is replaced.
    Put(Record),
    /// The record is removed.
    Remove,
}

/// A change of the dead letters. A ledger carries out each kind, so the enum is exhaustive.
#[derive(Debug, Clone, PartialEq)]
pub enum LetterChange {
    /// The letters stay.
    Keep,
    /// A letter is written, together with its [marker](super::unnotified_key).
    Open(Box<DeadLetter>),
    /// An action is [applied](DeadLetter::act) to a letter. If the letter no longer exists, nothing
    /// of the decision is written, and the reply is [`Reply::LetterNotOpen`].
    Action {
        /// The letter.
        letter: DeadLetterId,
        /// The action.
        act: Box<Action>,
    },
}

pub(super) fn acted(
    record: Change,
    letter: DeadLetterId,
    kind: ActionKind,
    by: &Actor,
    facts: &Facts,
) -> Decision {
    let act = Box::new(Action {
        at: facts.now,
        by: by.clone(),
        kind,
        sealed: None,
    });
    Decision {
        record,
        letter: LetterChange::Action { letter, act },
        reply: Reply::Recorded,
    }
}

pub(super) fn put(record: Record, reply: Reply) -> Decision {
    Decision {
        record: Change::Put(record),
        letter: LetterChange::Keep,
        reply,
    }
}

pub(super) fn keep(reply: Reply) -> Decision {
    Decision {
        record: Change::Keep,
        letter: LetterChange::Keep,
        reply,
    }
}

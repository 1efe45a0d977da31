//! A decision: what to write and what to answer.

use std::sync::Arc;

use jiff::Timestamp;

use super::letter::{Action, ActionKind, Actor, DeadLetter, DeadLetterId};
use super::note::NoteChange;
use super::record::Record;
use super::step::{Reply, Step};

/// What the ledger knows at the moment of deciding.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facts {
    /// The time of day.
    pub now: Timestamp,
    /// A fencing token larger than every one given out before.
    pub token: u64,
    /// A letter id that is not in use.
    pub letter: DeadLetterId,
    /// The number of the ledger's opening, which a ledger of one process counts: a claim of another
    /// opening has a dead owner. 0 in a ledger that many processes share.
    pub session: u64,
    /// Whether a lease that has passed means a dead owner.
    pub leases: bool,
    /// The running instance that decides, for the letter.
    pub instance: Arc<str>,
}

impl Facts {
    /// Returns the facts of a ledger that many processes share and whose leases do not count.
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
            instance: instance.into(),
        }
    }

    /// Sets the number of the ledger's opening.
    #[must_use]
    pub fn session(mut self, session: u64) -> Self {
        self.session = session;
        self
    }

    /// Sets whether a lease that has passed means a dead owner.
    #[must_use]
    pub fn leases(mut self, leases: bool) -> Self {
        self.leases = leases;
        self
    }
}

/// What to write, all of it or nothing, and what to answer once it is durable.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// What becomes of the record.
    pub record: Change,
    /// What becomes of the dead letters.
    pub letter: LetterChange,
    /// The answer.
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

    /// The notes to write with it: those of a result that is recorded now.
    pub fn notes<'a>(&self, step: &'a Step) -> &'a [NoteChange] {
        match (step, &self.record) {
            (Step::Complete { notes, .. }, Change::Put(_)) => notes,
            _ => &[],
        }
    }
}

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and most decisions put a record"
)]
pub enum Change {
    /// It stays.
    Keep,
    /// It becomes this.
    Put(Record),
    /// It goes.
    Remove,
}

/// What becomes of the dead letters.
#[derive(Debug, Clone, PartialEq)]
pub enum LetterChange {
    /// Nothing.
    Keep,
    /// This one is opened.
    Open(Box<DeadLetter>),
    /// This is [done](DeadLetter::act) to one. Where it is closed and has been forgotten since,
    /// nothing of the decision is written, and the answer is [`Reply::LetterNotOpen`].
    Action {
        /// Which.
        letter: DeadLetterId,
        /// What.
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

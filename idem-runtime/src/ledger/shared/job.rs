//! A step or a write of notes that was asked for.

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::store::{Row, StoreError};
use crate::ledger::{ExpectedNote, LedgerError, NoteChange};
use crate::protocol::{RecordId, Reply, Step};

/// Where an answer goes. Its caller may have gone away.
pub(super) type Done<T> = oneshot::Sender<Result<T, LedgerError>>;

pub(super) enum Job {
    Step(StepJob),
    Notes(NotesJob),
}

/// One step of a record.
pub(super) struct StepJob {
    pub(super) id: RecordId,
    /// In a box, because a job passes through many hands.
    pub(super) step: Box<Step>,
    /// When it was asked for, by the clock.
    pub(super) since: Timestamp,
    /// Whether the row is read, whatever this process knows of it.
    pub(super) reads: bool,
    /// How often it was overtaken.
    pub(super) overtaken: u32,
    pub(super) in_doubt: Vec<InDoubt>,
    done: Done<Reply>,
}

/// A write of a job whose answer was lost.
pub(super) struct InDoubt {
    pub(super) version: u64,
    /// The version that it expects.
    pub(super) expected: Option<u64>,
    /// The answer if it took place.
    pub(super) reply: Reply,
}

/// A write of notes.
pub(super) struct NotesJob {
    pub(super) changes: Vec<NoteChange>,
    pub(super) expected: Vec<ExpectedNote>,
    /// When it was asked for, by the clock.
    pub(super) since: Timestamp,
    pub(super) done: Done<bool>,
}

impl Job {
    pub(super) fn refuse(self, error: LedgerError) {
        match self {
            Self::Step(job) => job.answer(Err(error)),
            Self::Notes(job) => drop(job.done.send(Err(error))),
        }
    }
}

impl StepJob {
    pub(super) fn new(id: RecordId, step: Step, since: Timestamp, done: Done<Reply>) -> Self {
        Self {
            id,
            step: Box::new(step),
            since,
            reads: false,
            overtaken: 0,
            in_doubt: Vec::new(),
            done,
        }
    }

    pub(super) fn answer(self, answer: Result<Reply, LedgerError>) {
        let _ = self.done.send(answer);
    }

    /// Answers that the store is in trouble.
    pub(super) fn give_up(self, error: &StoreError) {
        let maybe_written = !self.in_doubt.is_empty();
        self.answer(Err(error.unavailable(maybe_written)));
    }

    /// Returns the answer of the write whose outcome was not known, if the row shows that it took
    /// place.
    pub(super) fn took_place(&self, row: Option<&Row>) -> Option<&Reply> {
        let version = row?.version;
        let mut in_doubt = self.in_doubt.iter();
        let it = in_doubt.find(|write| write.version == version);
        it.map(|write| &write.reply)
    }

    /// Returns whether a write whose answer was lost may take place yet, on a row of this version.
    pub(super) fn may_take_place(&self, version: Option<u64>) -> bool {
        self.in_doubt.iter().any(|write| write.expected == version)
    }

    /// Returns whether it would begin something.
    pub(super) fn begins(&self) -> bool {
        matches!(*self.step, Step::Claim(_))
    }

    /// Returns about how many bytes it will write, and at least one.
    pub(super) fn weight(&self) -> usize {
        1 + self.step.weight()
    }

    /// Returns whether it is a claim of which nothing is known yet.
    pub(super) fn is_guessed(&self) -> bool {
        !self.reads && matches!(*self.step, Step::Claim(_))
    }

    /// Returns the fencing token of a report, a renewal or a claim given back.
    pub(super) fn token(&self) -> Option<u64> {
        token(&self.step)
    }
}

/// Returns the fencing token of a step of a claim's holder.
pub(super) fn token(step: &Step) -> Option<u64> {
    match step {
        Step::Renew { token, .. } | Step::Complete { token, .. } | Step::GiveBack { token } => {
            Some(*token)
        }
        Step::Fail(failed) => Some(failed.token),
        _ => None,
    }
}

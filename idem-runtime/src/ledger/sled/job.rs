//! The jobs of the committer, and their answers.

use std::time::Duration;

use tokio::sync::oneshot;

use super::import::{Import, Imported};
use super::layout::RecordKey;
use crate::ledger::{ExpectedNote, LedgerError, NoteChange};
use crate::protocol::{RecordId, Reply, Step};

/// One request for a write.
pub(super) enum Job {
    /// A step of a record.
    Step {
        id: RecordId,
        record_key: RecordKey,
        step: Step,
        done: Done<Reply>,
    },
    /// Removes up to `limit` results whose bucket has expired, and those of these closed letters
    /// whose time is over.
    Expire {
        limit: usize,
        letters: Vec<Vec<u8>>,
        retention: Duration,
        done: Done<Expired>,
    },
    /// Writes and removes notes, if others are as expected.
    Notes {
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
        done: Done<bool>,
    },
    /// Takes over what another ledger has kept, and sets numbers aside.
    Import {
        items: Vec<Import>,
        numbers: u64,
        done: Done<TakenOver>,
    },
}

/// The first of the numbers that were set aside, and what came of each item.
pub(super) type TakenOver = (u64, Vec<Imported>);

/// How much was removed, and whether that was all.
pub(super) type Expired = (u64, bool);

/// The receiver of a job's answer. A caller that has gone away is ignored.
pub(super) type Done<T> = oneshot::Sender<Result<T, LedgerError>>;

/// What a job is answered once its group is durable.
pub(super) enum Answer {
    Step(Done<Reply>, Result<Reply, LedgerError>),
    Expire(Done<Expired>, Result<Expired, LedgerError>),
    Notes(Done<bool>, bool),
    Import(Done<TakenOver>, TakenOver),
}

impl Job {
    pub(super) fn refuse(self, error: &LedgerError) {
        match self {
            Job::Step { done, .. } => drop(done.send(Err(error.clone()))),
            Job::Expire { done, .. } => drop(done.send(Err(error.clone()))),
            Job::Notes { done, .. } => drop(done.send(Err(error.clone()))),
            Job::Import { done, .. } => drop(done.send(Err(error.clone()))),
        }
    }

    /// About how many bytes it will write.
    pub(super) fn weight(&self) -> usize {
        match self {
            Job::Step { step, .. } => step.weight(),
            Job::Notes { changes, .. } => NoteChange::weight(changes),
            Job::Import { items, .. } => items.len(),
            Job::Expire { .. } => 0,
        }
    }
}

impl Answer {
    pub(super) fn send(self) {
        match self {
            Answer::Step(done, reply) => drop(done.send(reply)),
            Answer::Expire(done, expired) => drop(done.send(expired)),
            Answer::Notes(done, written) => drop(done.send(Ok(written))),
            Answer::Import(done, taken) => drop(done.send(Ok(taken))),
        }
    }

    /// Answers that the group could not be written.
    pub(super) fn refuse(self, error: &LedgerError) {
        match self {
            Answer::Step(done, _) => drop(done.send(Err(error.clone()))),
            Answer::Expire(done, _) => drop(done.send(Err(error.clone()))),
            Answer::Notes(done, _) => drop(done.send(Err(error.clone()))),
            Answer::Import(done, _) => drop(done.send(Err(error.clone()))),
        }
    }
}

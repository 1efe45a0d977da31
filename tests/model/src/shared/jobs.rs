//! What a process asks the store for: jobs, and the writes that they become.

use idem_runtime::protocol::{Grant, Record, Reply};

use super::world::Row;
use crate::world::Ending;

/// An attempt that claims with its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Alone {
    /// What its claim would have been granted.
    pub(crate) grant: Grant,
    /// When that was looked up.
    pub(crate) at: i64,
}

/// One step that the committer was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Job {
    pub(crate) ask: Ask,
    /// It is decided from a read.
    pub(crate) read: bool,
    /// The writes of it whose answers were lost.
    pub(crate) tried: Vec<Write>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ask {
    Claim {
        nonce: u64,
        to_give_back: bool,
    },
    Report {
        token: u64,
        ending: Ending,
    },
    /// A claim and its report at once.
    Attempt {
        alone: Alone,
        ending: Ending,
    },
    Sweep,
}

/// Writes in the name of one runner, in one trip.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    pub(crate) runner: usize,
    pub(crate) sent: i64,
    pub(crate) writes: Vec<Write>,
    /// What came of it, once it has reached the store.
    pub(crate) outcome: Option<Outcome>,
    /// It is a transaction that commits.
    pub(crate) commits: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The versions of the writes that took place.
    Took(Vec<u64>),
    RunnerDead,
}

/// One write of a row, and what its caller is answered if it takes place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    pub(crate) key: usize,
    pub(crate) ask: Ask,
    pub(crate) expected: Option<u64>,
    pub(crate) version: u64,
    /// What it leaves.
    pub(crate) row: Option<Row>,
    pub(crate) reply: Option<Reply>,
    /// When it was decided, and by the process's clock.
    pub(crate) now: i64,
    pub(crate) local: i64,
    pub(crate) runner: usize,
    /// The own claim of an earlier life that is given back first: its body never started.
    pub(crate) gives_back: Option<u64>,
    /// The late runner whose claim it takes over: it is marked dead first, if it did not beat.
    pub(crate) retires: Option<(usize, i64)>,
}

impl Job {
    pub(crate) fn new(ask: Ask) -> Self {
        Self {
            ask,
            read: false,
            tried: Vec::new(),
        }
    }
}

impl Ask {
    /// The token of an attempt that is done.
    pub(crate) fn done(&self) -> Option<u64> {
        let (token, ending) = match *self {
            Self::Report { token, ending } => (token, ending),
            Self::Attempt { alone, ending } => (alone.grant.token, ending),
            Self::Claim { .. } | Self::Sweep => return None,
        };
        (ending == Ending::Done).then_some(token)
    }
}

impl Write {
    /// The record that it leaves.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.row.as_ref()?.record.as_ref()
    }
}

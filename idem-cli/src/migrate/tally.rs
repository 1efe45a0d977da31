//! What a migration has done, in numbers.

use std::collections::BTreeMap;

use idem_runtime::protocol::{DeadLetter, LetterState, Record, Settlement};
use serde::Serialize;

/// What goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Recorded results.
    Results,
    /// Messages between two attempts, each with its budget.
    Unfinished,
    /// Keys whose letter is open.
    Dead,
    /// Keys whose letter was discarded.
    Discarded,
    /// Keys that an issuer gave out.
    IssuedKeys,
    OpenLetters,
    ClosedLetters,
    /// Messages that wait to be sent.
    Outbox,
    /// Other notes: alerts, the audit log, issuers, names of handlers.
    Notes,
}

/// What does not go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Skip {
    /// Records whose time to live has passed.
    Expired,
    /// Leases on work that one process does for all: no process of the folder is left.
    Leases,
    /// Settled records of which the folder has the key's hash alone.
    LongKeys,
    /// Records and letters that cannot be decoded.
    Unreadable,
}

/// The numbers of a migration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// What was written, or is to be written.
    pub(super) copied: BTreeMap<Kind, u64>,
    /// What an earlier run had written.
    pub(super) there: BTreeMap<Kind, u64>,
    /// What was left out.
    pub(super) skipped: BTreeMap<Skip, u64>,
    /// The attempts that ran when the service ended, and count as crashed.
    pub(super) crashed: u64,
    /// The letters written for messages whose last attempt crashed so, or whose time to live passed
    /// without a call.
    pub(super) buried: u64,
}

impl Kind {
    /// Every kind, in the order in which people see them.
    pub(super) const ALL: [Self; 9] = [
        Self::Results,
        Self::Unfinished,
        Self::Dead,
        Self::Discarded,
        Self::IssuedKeys,
        Self::OpenLetters,
        Self::ClosedLetters,
        Self::Outbox,
        Self::Notes,
    ];

    pub(super) fn of_record(record: &Record) -> Self {
        match record {
            Record::Live(_) => Self::Unfinished,
            Record::Settled(settled) => match settled.end {
                Settlement::Dead(_) => Self::Dead,
                Settlement::Discarded(_) => Self::Discarded,
                Settlement::Issued => Self::IssuedKeys,
                _ => Self::Results,
            },
        }
    }

    pub(super) fn of_letter(letter: &DeadLetter) -> Self {
        match letter.state {
            LetterState::Open => Self::OpenLetters,
            _ => Self::ClosedLetters,
        }
    }

    pub(super) fn of_note(key: &str) -> Self {
        if key.starts_with("outbox/") {
            Self::Outbox
        } else {
            Self::Notes
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Results => "results",
            Self::Unfinished => "unfinished messages",
            Self::Dead => "dead keys",
            Self::Discarded => "discarded keys",
            Self::IssuedKeys => "issued keys",
            Self::OpenLetters => "open letters",
            Self::ClosedLetters => "closed letters",
            Self::Outbox => "messages in the outbox",
            Self::Notes => "other notes",
        }
    }
}

impl Skip {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Expired => "records whose time to live has passed",
            Self::Leases => "leases of processes that have ended",
            Self::LongKeys => {
                "settled records with a handler's name and key of more than 200 bytes, of which the \
                 folder has only a hash: their messages would run again"
            }
            Self::Unreadable => "records and letters that cannot be read",
        }
    }
}

impl Tally {
    pub(super) fn copied(&mut self, kind: Kind) {
        *self.copied.entry(kind).or_default() += 1;
    }

    pub(super) fn there(&mut self, kind: Kind) {
        *self.there.entry(kind).or_default() += 1;
    }

    pub(super) fn skipped(&mut self, skip: Skip) {
        *self.skipped.entry(skip).or_default() += 1;
    }

    /// Returns how many of a kind are in the target now.
    pub(super) fn of(&self, kind: Kind) -> u64 {
        let count = |of: &BTreeMap<_, u64>| of.get(&kind).copied().unwrap_or(0);
        count(&self.copied) + count(&self.there)
    }

    /// Returns how many were left out for a reason.
    pub(super) fn left_out(&self, skip: Skip) -> u64 {
        self.skipped.get(&skip).copied().unwrap_or(0)
    }

    /// Returns how many there are of all kinds.
    pub(super) fn total(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.of(kind)).sum()
    }
}

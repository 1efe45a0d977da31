//! The running claims of this process, whose reports need no read.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::store::{Owner, Row, Runner};
use crate::protocol::{Live, Phase, Record, RecordId};

/// The running claims of this process, by their records.
#[derive(Default)]
pub(super) struct Own(Mutex<HashMap<RecordId, Held, RandomState>>);

/// A claim that this process may hold.
struct Held {
    token: u64,
    /// Its row, if that is known.
    row: Option<Known>,
}

/// A row as this process wrote it, and was answered.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) record: Record,
    pub(super) version: u64,
}

impl Known {
    /// Returns the row, as the runner that holds its claim would read it.
    pub(super) fn row(self, runner: &Runner) -> Row {
        Row {
            version: self.version,
            record: Some(self.record),
            due: None,
            owner: Owner::Until(Runner::clone(runner), Timestamp::MAX),
        }
    }
}

impl Own {
    /// Returns the row of a record if it runs with this token, and is known.
    pub(super) fn known(&self, id: &RecordId, token: u64) -> Option<Known> {
        let own = self.0.lock();
        let held = own.get(id).filter(|held| held.token == token);
        held?.row.clone()
    }

    /// Returns whether this process may hold a record's claim.
    pub(super) fn may_hold(&self, id: &RecordId) -> bool {
        self.0.lock().contains_key(id)
    }

    /// Notes how this process wrote a row. An answer may come late, after the one to a later claim.
    pub(super) fn wrote(&self, id: &RecordId, record: Option<Record>, version: u64) {
        let mut own = self.0.lock();
        if own.get(id).is_some_and(|held| held.token > version) {
            return;
        }
        match record {
            Some(record) if is_running(&record) => {
                let held = Held {
                    token: record.token(),
                    row: Some(Known { record, version }),
                };
                own.insert(id.clone(), held);
            }
            _ => drop(own.remove(id)),
        }
    }

    /// Forgets what is known of a record: the answer to a write of it was lost, or another process
    /// wrote it.
    pub(super) fn doubt(&self, id: &RecordId) {
        if let Some(held) = self.0.lock().get_mut(id) {
            held.row = None;
        }
    }

    /// Forgets a claim that has ended.
    pub(super) fn forget(&self, id: &RecordId) {
        self.0.lock().remove(id);
    }

    /// Forgets a claim with this token: it has passed on, or was reported before.
    pub(super) fn lost(&self, id: &RecordId, token: u64) {
        let mut own = self.0.lock();
        let is_it = |held: &Held| held.row.is_none() || held.token == token;
        if own.get(id).is_some_and(is_it) {
            own.remove(id);
        }
    }

    /// Forgets all claims: they have passed on.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Returns the smallest token.
    pub(super) fn oldest(&self) -> Option<u64> {
        let own = self.0.lock();
        own.values().map(|held| held.token).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

pub(super) fn is_running(record: &Record) -> bool {
    let running = |live: &Live| matches!(live.phase, Phase::Running { .. });
    matches!(record, Record::Live(live) if running(live))
}

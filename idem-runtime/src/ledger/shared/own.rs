//! The running claims of this process, whose reports need no read.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::protocol::{Live, Phase, Record, RecordId};

/// The running claims of this process, by their records.
#[derive(Default)]
pub(super) struct Own(Mutex<HashMap<RecordId, Option<Known>, RandomState>>);

/// A row as this process wrote it, and was answered.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) record: Record,
    pub(super) version: u64,
}

impl Own {
    /// Returns the row of a record if it runs with this token, and is known.
    pub(super) fn known(&self, id: &RecordId, token: u64) -> Option<Known> {
        let own = self.0.lock();
        let known = own.get(id)?.as_ref()?;
        (known.record.token() == token).then(|| known.clone())
    }

    /// Returns whether this process may hold a record's claim.
    pub(super) fn may_hold(&self, id: &RecordId) -> bool {
        self.0.lock().contains_key(id)
    }

    /// Notes how this process wrote a row.
    pub(super) fn wrote(&self, id: &RecordId, record: Option<Record>, version: u64) {
        match record {
            Some(record) if is_running(&record) => {
                let known = Some(Known { record, version });
                self.0.lock().insert(id.clone(), known);
            }
            _ => drop(self.0.lock().remove(id)),
        }
    }

    /// Forgets what is known of a record: the answer to a write of it was lost, or another process
    /// wrote it.
    pub(super) fn doubt(&self, id: &RecordId) {
        if let Some(known) = self.0.lock().get_mut(id) {
            *known = None;
        }
    }

    /// Forgets what is known of all records.
    pub(super) fn doubt_all(&self) {
        self.0.lock().values_mut().for_each(|known| *known = None);
    }

    /// Forgets a claim that has ended.
    pub(super) fn forget(&self, id: &RecordId) {
        self.0.lock().remove(id);
    }

    /// Forgets all claims: they have passed on.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

pub(super) fn is_running(record: &Record) -> bool {
    let running = |live: &Live| matches!(live.phase, Phase::Running { .. });
    matches!(record, Record::Live(live) if running(live))
}

//! When the monitors of this process last looked at their ledgers.

use std::sync::{Arc, Weak};

use idem_runtime::clock::Timestamp;
use parking_lot::Mutex;

static ALL: Mutex<Vec<Weak<Checked>>> = Mutex::new(Vec::new());

/// The last look of one monitor.
#[derive(Debug)]
pub(super) struct Checked {
    instance: String,
    at: Mutex<Timestamp>,
}

impl Checked {
    /// Registers a monitor, until it is dropped.
    pub(super) fn new(instance: &str, at: Timestamp) -> Arc<Self> {
        let checked = Arc::new(Self {
            instance: instance.to_owned(),
            at: Mutex::new(at),
        });
        let mut all = ALL.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&checked));
        checked
    }

    pub(super) fn set(&self, at: Timestamp) {
        *self.at.lock() = at;
    }
}

/// Returns when a monitor of this instance last looked, or `None` if this process runs none.
pub(crate) fn last_check(instance: &str) -> Option<Timestamp> {
    let all = ALL.lock();
    let checks = all.iter().filter_map(Weak::upgrade);
    checks
        .filter(|one| one.instance == instance)
        .map(|one| *one.at.lock())
        .max()
}

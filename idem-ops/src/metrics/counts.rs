//! A counter by handler and outcome.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::Key;
use metrics::atomics::AtomicU64;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The count of one handler and outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Count {
    /// The handler's name in the ledger.
    pub handler: String,
    /// `done`, `replayed`, `failed`, `dead_lettered`, … as in the metrics.
    pub outcome: String,
    /// How often it occurred.
    pub count: u64,
}

/// One counter by its labels.
#[derive(Default)]
pub(super) struct Counts(Mutex<HashMap<Key, Arc<AtomicU64>>>);

impl Counts {
    /// Returns the counter of these labels.
    pub(super) fn counter(&self, key: &Key) -> Arc<AtomicU64> {
        let mut counters = self.0.lock();
        // `entry` would copy the key with every attempt.
        if let Some(counter) = counters.get(key) {
            return Arc::clone(counter);
        }
        Arc::clone(counters.entry(key.clone()).or_default())
    }

    pub(super) fn counts(&self) -> Vec<Count> {
        let label = |key: &Key, name| {
            key.labels()
                .find(|label| label.key() == name)
                .map(|label| label.value().to_owned())
        };
        let counts = self.0.lock();
        let mut counts: Vec<_> = counts
            .iter()
            .map(|(key, counter)| Count {
                handler: label(key, "handler").unwrap_or_default(),
                outcome: label(key, "outcome").unwrap_or_default(),
                count: counter.load(Ordering::Relaxed),
            })
            .collect();
        counts.sort_by(|a, b| (&a.handler, &a.outcome).cmp(&(&b.handler, &b.outcome)));
        counts
    }

    pub(super) fn by_outcome(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        self.counts()
            .into_iter()
            .for_each(|count| *all.entry(count.outcome).or_default() += count.count);
        all
    }
}

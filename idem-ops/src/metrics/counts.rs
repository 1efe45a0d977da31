//! A counter by handler and outcome, and a gauge by source.

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

/// One gauge by its label `source`.
#[derive(Default)]
pub(super) struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Gauges {
    /// Returns the gauge of these labels.
    pub(super) fn gauge(&self, key: &Key) -> Arc<AtomicU64> {
        let source = key.labels().find(|label| label.key() == "source");
        let source = source.map_or_else(String::new, |source| source.value().to_owned());
        Arc::clone(self.0.lock().entry(source).or_default())
    }

    pub(super) fn by_source(&self) -> BTreeMap<String, u64> {
        // A gauge keeps a float's bits. Counts of messages are whole and not negative.
        let count = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed)) as u64;
        let gauges = self.0.lock();
        gauges
            .iter()
            .map(|(source, bits)| (source.clone(), count(bits)))
            .collect()
    }
}

//! Failures in a row of one handler, as this process sees them, and when they make it pause.

use std::sync::Arc;

use jiff::Timestamp;

use super::PauseRules;
use crate::clock::until;

/// How many different keys that fail in a row end a recovery from failures.
const RELAPSE: usize = 3;

/// The failures since the last success. No more keys are kept than a rule needs.
#[derive(Debug, Default)]
pub(super) struct Row {
    outages: u32,
    outage_keys: Vec<Arc<str>>,
    failed_keys: Vec<Arc<str>>,
    failing_since: Option<Timestamp>,
    /// A pause has ended, and nothing succeeded since.
    lifted: bool,
}

impl Row {
    /// What is known once a pause has ended. A person who lifts one decides that what fails is the
    /// messages' own fault: until one succeeds, failures begin no other pause.
    pub(super) fn after_a_pause() -> Self {
        Self {
            lifted: true,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outages == 0 && self.failing_since.is_none() && !self.lifted
    }

    /// Counts an attempt that met an outage. Returns why the handler is to pause, if it is.
    pub(super) fn outage(
        &mut self,
        key: &Arc<str>,
        error: &str,
        rules: &PauseRules,
    ) -> Option<String> {
        let (in_a_row, keys) = rules.by_outages?;
        self.outages = self.outages.saturating_add(1);
        add(&mut self.outage_keys, key, keys);
        let outages = self.outages;
        (outages >= in_a_row && self.outage_keys.len() >= keys)
            .then(|| format!("{outages} attempts in a row met an outage, the last one: {error}"))
    }

    /// Counts a failure that was not said to be an outage. Returns why the handler is to pause, if
    /// it is.
    pub(super) fn failure(
        &mut self,
        key: &Arc<str>,
        error: &str,
        now: Timestamp,
        rules: &PauseRules,
    ) -> Option<String> {
        let (keys, over) = rules.by_failures?;
        let since = *self.failing_since.get_or_insert(now);
        add(&mut self.failed_keys, key, keys);
        (!self.lifted && self.failed_keys.len() >= keys && until(now, since) >= over)
            .then(|| format!("every message failed, {keys} and more, the last one: {error}"))
    }

    /// Returns whether the failures end a recovery.
    pub(super) fn is_relapse(&self) -> bool {
        self.failed_keys.len() >= RELAPSE
    }
}

fn add(keys: &mut Vec<Arc<str>>, key: &Arc<str>, most: usize) {
    if keys.len() < most && !keys.contains(key) {
        keys.push(Arc::clone(key));
    }
}

//! What waits: for an attempt, for the relay, and at the brokers.

use std::collections::BTreeMap;

use idem_runtime::clock::Timestamp;
use idem_runtime::ledger::LedgerError;
use idem_runtime::{Idem, ledger::Waiting};
use serde::{Deserialize, Serialize};

use crate::metrics::{self, Metrics};

/// The most messages of the outbox that are counted.
const MOST: usize = 1000;
/// A message may have a megabyte, so only some are in memory at a time.
const PAGE: usize = 50;

/// The messages that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Backlog {
    /// Messages that wait for their next attempt, if the ledger counts them.
    pub attempts: Option<u64>,
    /// When the oldest of those first came.
    pub oldest_attempt: Option<Timestamp>,
    /// Messages that the relay has not sent yet, up to 1,000.
    pub outbox: u64,
    /// When the oldest of those was recorded.
    pub oldest_in_outbox: Option<Timestamp>,
    /// Messages that wait in delay queues of their broker, by source, as far as consumers of this
    /// process count them.
    pub delayed: BTreeMap<String, u64>,
}

/// The outbox as it was counted last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outbox {
    count: u64,
    oldest: Option<Timestamp>,
}

impl Outbox {
    pub(super) async fn count(idem: &Idem, now: Timestamp) -> Result<Self, LedgerError> {
        let (outbox, mut counted) = (idem.outbox(), Self::default());
        let mut page = outbox.pending(None, PAGE).await?;
        counted.oldest = page.first().map(|entry| entry.at);
        loop {
            counted.count += page.len() as u64;
            match page.last() {
                Some(last) if page.len() == PAGE && counted.count < MOST as u64 => {
                    page = outbox.pending(Some(last), PAGE).await?;
                }
                _ => break,
            }
        }
        metrics::outbox(counted.count, counted.oldest, now);
        Ok(counted)
    }
}

impl Backlog {
    pub(super) fn new(waiting: Option<Waiting>, outbox: Outbox, metrics: Option<&Metrics>) -> Self {
        Self {
            attempts: waiting.map(|waiting| waiting.count),
            oldest_attempt: waiting.and_then(|waiting| waiting.oldest),
            outbox: outbox.count,
            oldest_in_outbox: outbox.oldest,
            delayed: metrics.map(Metrics::delayed).unwrap_or_default(),
        }
    }

    /// Returns since when the message that has waited longest waits.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.oldest_attempt
            .into_iter()
            .chain(self.oldest_in_outbox)
            .min()
    }
}

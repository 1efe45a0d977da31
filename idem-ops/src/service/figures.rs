//! Figures of the service: the process's metrics, and the ledger's size and open letters.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::Duration;

use idem_runtime::{clock::Timestamp, ledger::LedgerError};

use super::backlog::{Backlog, Outbox};
use super::error::ServiceError;
use super::stats::{Health, MINUTES, Minute, Stats, StatsQuery};
use super::{Inner, Service};
use crate::metrics::{self, Metrics, Past, minute};
use crate::monitor::AlertState;

/// How often the current minute is updated.
const TICK: Duration = Duration::from_secs(5);
/// The number of minutes that are shown by default.
const SHOWN: usize = 60;

/// The ledger's figures at the end of a minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct MinuteEnd {
    minute: i64,
    open: u64,
    bytes: Option<u64>,
}

impl Service {
    /// Returns the service's figures.
    ///
    /// # Errors
    /// `minutes` is out of range, or the ledger cannot be asked.
    pub async fn stats(&self, query: &StatsQuery) -> Result<Stats, ServiceError> {
        let shown = query.minutes.unwrap_or(SHOWN);
        if !(1..=MINUTES).contains(&shown) {
            let why = format!("is {shown}: it can be from 1 to {MINUTES}");
            return Err(ServiceError::Invalid {
                field: "minutes",
                why,
            });
        }
        self.inner.refresh().await?;
        let (at, now) = self.inner.tick().await?;
        let ends: Vec<_> = self.inner.minutes.lock().iter().copied().collect();
        let metrics = self.inner.metrics.as_ref();
        let past = metrics.map(Metrics::minutes).unwrap_or_default();
        let first = ends.len().saturating_sub(shown);
        let minutes = ends
            .get(first..)
            .unwrap_or_default()
            .iter()
            .map(|ends| one(ends, &past))
            .collect();
        let pauses = self.inner.idem.pauses().await?;
        Ok(Stats {
            at,
            since: self.inner.since,
            no_figures: metrics.err().map(ToString::to_string),
            open: now.open,
            groups: self.inner.index.groups_count(),
            backlog: Backlog::new(
                self.inner.idem.waiting(),
                *self.inner.outbox.lock(),
                metrics.ok(),
            ),
            pauses,
            ledger_bytes: now.bytes,
            calls: metrics.map(Metrics::calls).unwrap_or_default(),
            attempts: metrics.map(Metrics::attempts).unwrap_or_default(),
            body: metrics.map(Metrics::body).unwrap_or_default(),
            commit: metrics.map(Metrics::commit).unwrap_or_default(),
            minutes,
        })
    }

    /// Returns whether the ledger answers.
    pub async fn health(&self) -> Health {
        let asked = self.inner.idem.notes().list("audit/", None, 1).await;
        Health {
            up: asked.is_ok(),
            problem: asked.err().map(|error| error.to_string()),
        }
    }

    /// Returns the state of the notifications, whether or not a monitor runs in this process.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn alerts(&self) -> Result<AlertState, ServiceError> {
        Ok(AlertState::of(&self.inner.idem).await?)
    }

    /// Returns the process's metrics as Prometheus text, or `None` if the process has another
    /// recorder.
    pub fn prometheus(&self) -> Option<String> {
        self.inner.metrics.as_ref().ok().map(Metrics::render)
    }
}

impl Inner {
    /// Updates the current minute, and ends those that are over.
    pub(super) async fn tick(&self) -> Result<(Timestamp, MinuteEnd), LedgerError> {
        let at = self.idem.clock().now();
        if let Ok(metrics) = &self.metrics {
            metrics.roll(at);
        }
        // The other figures are worth showing without it.
        if let Ok(outbox) = Outbox::count(&self.idem, at).await {
            *self.outbox.lock() = outbox;
        }
        let open = self.idem.dead_letters().count_open().await?;
        let ends = MinuteEnd {
            minute: minute(at),
            open,
            bytes: self.idem.ledger_size().await?,
        };
        ends.bytes.into_iter().for_each(metrics::ledger_bytes);
        let mut all = self.minutes.lock();
        if all.back().is_some_and(|last| last.minute >= ends.minute) {
            all.pop_back();
        }
        all.push_back(ends);
        while all.len() > MINUTES {
            all.pop_front();
        }
        Ok((at, ends))
    }

    /// Keeps the minutes, removes old entries of the audit log, and takes part in bulk jobs.
    pub(super) async fn keep_minutes(weak: Weak<Self>) {
        loop {
            let Some(inner) = weak.upgrade() else { return };
            // The next query returns the error.
            let _ = inner.tick().await;
            let _ = inner.audit_log.prune(inner.continues).await;
            if inner.continues {
                let _ = inner.take_part_in_bulk_jobs().await;
            }
            let clock = inner.idem.clock();
            drop(inner);
            clock.sleep(TICK).await;
        }
    }
}

/// The last minutes, oldest first.
pub(super) type Minutes = parking_lot::Mutex<VecDeque<MinuteEnd>>;

fn one(ends: &MinuteEnd, past: &[Past]) -> Minute {
    let at = Timestamp::from_second(ends.minute.saturating_mul(60)).unwrap_or(Timestamp::MIN);
    let found = past.iter().find(|past| past.minute == ends.minute).cloned();
    let (calls, attempts, body, commit) = found
        .map(|past| (past.calls, past.attempts, past.body, past.commit))
        .unwrap_or_default();
    Minute {
        at,
        calls,
        attempts,
        body,
        commit,
        open: ends.open,
        ledger_bytes: ends.bytes,
    }
}

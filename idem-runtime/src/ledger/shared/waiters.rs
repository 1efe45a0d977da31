//! Calls that wait until a record changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::core::Core;
use super::store::{Owner, Row, Store};
use crate::clock::BoxFuture;
use crate::ledger::metrics;
use crate::protocol::{Live, Phase, Record, RecordId};

/// How often the store is asked about the records that are waited for.
const POLL: Duration = Duration::from_secs(1);
const ROWS_A_READ: usize = 1_000;

#[derive(Default)]
pub(super) struct Waiters {
    waiting: Mutex<HashMap<RecordId, Waiting, RandomState>>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    callers: Vec<oneshot::Sender<()>>,
    /// The version of the row that was seen last.
    seen: Option<u64>,
}

impl Waiters {
    /// Resolves when a record may have changed.
    pub(super) fn wait(&self, id: &RecordId) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.entry(id.clone()).or_default().callers.push(wake);
        self.bell.notify_one();
        Box::pin(async move { drop(woken.await) })
    }

    /// Wakes the calls that wait for a record.
    pub(super) fn wake(&self, id: &RecordId) {
        let woken = self.waiting.lock().remove(id);
        for caller in woken.into_iter().flat_map(|waiting| waiting.callers) {
            // It may have gone away.
            let _ = caller.send(());
        }
    }

    /// Returns the records that are waited for, and counts the calls. Those that have gone away are
    /// forgotten.
    fn ids(&self) -> Vec<RecordId> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, waiting| {
            waiting.callers.retain(|caller| !caller.is_closed());
            !waiting.callers.is_empty()
        });
        let calls = waiting.values().map(|waiting| waiting.callers.len());
        metrics::calls_waiting(calls.sum());
        waiting.keys().cloned().collect()
    }

    /// Wakes the calls that wait for a row, unless it is as it was and its claim lives.
    fn saw(&self, id: &RecordId, row: Option<&Row>, now: Timestamp) {
        if let Some(row) = row.filter(|row| runs(row, now))
            && let Some(waiting) = self.waiting.lock().get_mut(id)
            && waiting.seen.is_none_or(|seen| seen == row.version)
        {
            waiting.seen = Some(row.version);
            return;
        }
        self.wake(id);
    }
}

fn runs(row: &Row, now: Timestamp) -> bool {
    let Some(Record::Live(Live {
        phase: Phase::Running { until, .. },
        ..
    })) = row.record
    else {
        return false;
    };
    now < until && matches!(row.owner, Owner::Until(_, lease) if now < lease)
}

impl<S: Store> Core<S> {
    /// Asks the store about the records that are waited for, as long as there are any.
    pub(super) async fn poll_for_waiters(self: Arc<Self>) {
        loop {
            let ids = self.waiters.ids();
            if ids.is_empty() {
                self.waiters.bell.notified().await;
                continue;
            }
            ids.iter().for_each(|id| self.store.watch(id));
            self.clock().sleep(POLL).await;
            for ids in ids.chunks(ROWS_A_READ) {
                let asked = self.clock().now();
                let Ok(rows) = self.ask(self.store.read(ids.to_vec())).await else {
                    break;
                };
                self.told(rows.now, asked);
                for (id, row) in ids.iter().zip(&rows.rows) {
                    let row = row.as_ref().ok().and_then(Option::as_ref);
                    self.waiters.saw(id, row, rows.now);
                }
            }
        }
    }

    /// Passes the store's hints on.
    pub(super) async fn pass_hints_on(self: Arc<Self>) {
        loop {
            for id in self.store.changed().await {
                self.waiters.wake(&id);
            }
        }
    }
}

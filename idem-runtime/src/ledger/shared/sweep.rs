//! Sweeping: the live records that have something due go through the committer, and the store removes
//! the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use futures_util::future::join_all;
use jiff::SignedDuration;

use super::core::Core;
use super::store::{Store, StoreError};
use crate::ledger::{LedgerError, LedgerErrorKind, Swept, Waiting};
use crate::protocol::{RecordId, Reply, Step};

const ROWS_A_PAGE: usize = 1_000;
/// How many times as long as a count of what waits took nothing is counted.
const PAUSE_BETWEEN_COUNTS: u32 = 50;

impl<S: Store> Core<S> {
    pub(super) async fn sweep(
        self: Arc<Self>,
        limit: usize,
        retention: Duration,
    ) -> Result<Swept, LedgerError> {
        let mut swept = Swept::default();
        let mut seen = HashSet::<_, RandomState>::default();
        loop {
            let due = self.due(ROWS_A_PAGE).await?;
            let is_last = due.len() < ROWS_A_PAGE;
            let before = seen.len();
            let new = due.into_iter().filter(|id| seen.insert(id.clone()));
            self.sweep_rows(new.collect(), &mut swept).await?;
            // A page of rows that were all seen says that the store began again.
            if is_last || seen.len() == before {
                break;
            }
        }
        swept.waiting = self.count_waiting().await?;
        swept.finished = true;
        if limit > 0 {
            let rows = self.remove_due(limit).await?;
            let letters = self.remove_letters(limit, retention).await?;
            swept.removed += rows + letters;
            swept.finished = rows.max(letters) < limit as u64;
        }
        Ok(swept)
    }

    /// Counts the messages that wait, if it is time to: it takes longer the more there are.
    async fn count_waiting(&self) -> Result<Option<Waiting>, LedgerError> {
        let asked = Instant::now();
        if asked < *self.count_again.lock() {
            return Ok(None);
        }
        let counted = self.ask_again(|| self.store.waiting()).await;
        *self.count_again.lock() = Instant::now() + asked.elapsed() * PAUSE_BETWEEN_COUNTS;
        counted.map(Some).map_err(StoreError::of_a_read)
    }

    async fn due(&self, limit: usize) -> Result<Vec<RecordId>, LedgerError> {
        self.ask_again(|| self.store.due(limit))
            .await
            .map_err(StoreError::of_a_read)
    }

    async fn remove_due(&self, limit: usize) -> Result<u64, LedgerError> {
        self.ask_again(|| self.store.remove_due(limit))
            .await
            .map_err(StoreError::of_a_write)
    }

    async fn sweep_rows(
        self: &Arc<Self>,
        ids: Vec<RecordId>,
        swept: &mut Swept,
    ) -> Result<(), LedgerError> {
        let steps = ids
            .into_iter()
            .map(|id| Arc::clone(self).step(id, Step::Sweep));
        for reply in join_all(steps).await {
            match reply {
                Ok(Reply::DeadLettered(letter)) => swept.dead_lettered.push(*letter),
                Ok(Reply::Recorded) => swept.removed += 1,
                // One record that cannot be read does not keep the others from being swept.
                Err(error) if error.kind() != LedgerErrorKind::Record => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Removes letters that were closed a retention ago.
    async fn remove_letters(&self, limit: usize, retention: Duration) -> Result<u64, LedgerError> {
        let retention = SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX);
        let Ok(until) = self.now().checked_sub(retention) else {
            return Ok(0);
        };
        self.ask_again(|| self.store.remove_letters(until, limit))
            .await
            .map_err(StoreError::of_a_write)
    }
}

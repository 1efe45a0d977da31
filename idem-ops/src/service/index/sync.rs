//! Keeps the index current: a scan of the ledger, and reads of its newest letters and of those that
//! other replicas have changed.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{Filter, ledger::LedgerError};

use super::Reach;
use crate::service::Inner;

/// The number of letters that are read at once.
const PAGE: usize = 256;
/// How long a request waits for the first scan before it answers from what has been read.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two scans: a discard and a restore elsewhere leave the count the same.
const RESCAN: Duration = Duration::from_secs(600);
/// The pause after an error of the ledger.
const PAUSE: Duration = Duration::from_secs(5);

impl Inner {
    /// Adds the newest letters, and starts another scan if letters were changed elsewhere.
    pub(in crate::service) async fn refresh(self: &Arc<Self>) -> Result<(), LedgerError> {
        self.wake();
        let mut scanned = self.scanned.subscribe();
        // After that the answer says that it is not complete.
        let _ = tokio::time::timeout(PATIENCE, scanned.wait_for(|done| *done)).await;
        self.catch_up_with_all().await?;
        let (open, reach) = self.index.open();
        if reach == Reach::Whole && open != self.idem.dead_letters().count_open().await? {
            self.stale.notify_one();
        }
        Ok(())
    }

    /// Waits for the first scan.
    pub(in crate::service) async fn wait_for_index(self: &Arc<Self>) -> Result<(), LedgerError> {
        self.wake();
        let mut scanned = self.scanned.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = scanned.wait_for(|done| *done).await;
        self.catch_up_with_all().await
    }

    /// Adds the letters that were written since the last read, and reads those again that other
    /// replicas have changed by an action in the audit log.
    async fn catch_up_with_all(&self) -> Result<(), LedgerError> {
        let changed = self.audit_log.changed_elsewhere().await?;
        let read = async {
            let letters = self.idem.dead_letters();
            for id in changed {
                match letters.get(&id).await {
                    Ok(Some(letter)) => self.index.put(&letter),
                    Ok(None) => self.index.forget(id),
                    Err(LedgerError::Record { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            self.catch_up().await
        };
        let read = read.await;
        if read.is_err() {
            // What was not read is found by another scan.
            self.stale.notify_one();
        }
        read
    }

    /// Adds the letters that were written since the last read.
    async fn catch_up(&self) -> Result<(), LedgerError> {
        let letters = self.idem.dead_letters();
        let known = self.index.newest();
        let (mut after, mut limit) = (None, 1);
        loop {
            let mut filter = Filter::default().any_state().limit(limit);
            if let Some(after) = after {
                filter = filter.after(after);
            }
            let page = letters.list(&filter).await?;
            for letter in page
                .iter()
                .filter(|letter| known.is_none_or(|known| letter.id > known))
            {
                self.index.put(letter);
            }
            let Some(oldest) = page.last().map(|letter| letter.id) else {
                return Ok(());
            };
            // With an empty index, a scan in progress finds them.
            let met = known.map_or(!self.index.open().1.is_known(), |known| oldest <= known);
            if page.len() < limit || met {
                return Ok(());
            }
            (after, limit) = (Some(oldest), PAGE);
        }
    }

    /// Scans the ledger, again and again: when it is stale, and from time to time.
    pub(in crate::service) async fn sync_index(weak: std::sync::Weak<Self>) {
        loop {
            let Some(inner) = weak.upgrade() else { return };
            let pause = match inner.scan().await {
                Ok(()) => RESCAN,
                Err(LedgerError::Closed) => return,
                Err(error) => {
                    tracing::warn!(
                        error = format_args!("{error:#}"),
                        "scanning the dead letters failed; trying again"
                    );
                    PAUSE
                }
            };
            let stale = Arc::clone(&inner.stale);
            // The pause must not keep the Idem open.
            drop(inner);
            let _ = tokio::time::timeout(pause, stale.notified()).await;
        }
    }

    async fn scan(&self) -> Result<(), LedgerError> {
        // From here on, other replicas' actions are known from the audit log.
        self.audit_log.follow().await?;
        let letters = self.idem.dead_letters();
        let mut after = None;
        loop {
            let version = self.index.version();
            let mut filter = Filter::default().any_state().limit(PAGE);
            if let Some(after) = after {
                filter = filter.after(after);
            }
            let page = letters.list(&filter).await?;
            let last = page.len() < PAGE;
            let ended = self.index.merge(after, &page, last, version);
            after = page.last().map(|letter| letter.id);
            if ended {
                self.scanned.send_replace(true);
                return Ok(());
            }
        }
    }
}

//! What keeps the index true.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{Error, Filter, ledger::LedgerError};

use super::Inner;
use super::index::Reach;

/// Letters read at once.
const PAGE: usize = 256;
/// How long a request waits for the first walk before it answers with what there is.
const PATIENCE: Duration = Duration::from_secs(1);
/// Somebody else may discard one letter and restore another, and no count tells.
const AGAIN: Duration = Duration::from_secs(600);
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

impl Inner {
    /// Brings the index up to the newest letter, and has it walked again where somebody else acted.
    pub(super) async fn refresh(self: &Arc<Self>) -> Result<(), Error> {
        self.wake();
        let mut walked = self.walked.subscribe();
        // Who waited long enough is answered with what is there, and told that it is not all.
        let _ = tokio::time::timeout(PATIENCE, walked.wait_for(|walked| *walked)).await;
        self.catch_up().await?;
        let (open, reach) = self.index.open();
        if reach == Reach::Whole && open != self.idem.dead_letters().count_open().await? {
            self.stale.notify_one();
        }
        Ok(())
    }

    /// Waits until the letters have been read through.
    pub(super) async fn whole(self: &Arc<Self>) -> Result<(), Error> {
        self.wake();
        let mut walked = self.walked.subscribe();
        // The sender lives as long as this.
        let _ = walked.wait_for(|walked| *walked).await;
        self.catch_up().await
    }

    /// Letters that were written since the last look.
    async fn catch_up(&self) -> Result<(), Error> {
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
            // Without a known one before the walk has ended, the walk finds them.
            let met = known.map_or(!self.index.open().1.is_known(), |known| oldest <= known);
            if page.len() < limit || met {
                return Ok(());
            }
            (after, limit) = (Some(oldest), PAGE);
        }
    }

    /// The walker: through the ledger once, and again when asked for.
    pub(super) async fn walk(weak: std::sync::Weak<Self>) {
        loop {
            let Some(inner) = weak.upgrade() else { return };
            let pause = match inner.walk_once().await {
                Ok(()) => AGAIN,
                Err(Error::Ledger {
                    problem: LedgerError::Closed,
                    ..
                }) => return,
                Err(error) => {
                    tracing::warn!(%error, "the dead letters could not be read through; trying again");
                    AFTER_TROUBLE
                }
            };
            let stale = Arc::clone(&inner.stale);
            // Nothing here keeps the Idem open while it waits.
            drop(inner);
            let _ = tokio::time::timeout(pause, stale.notified()).await;
        }
    }

    async fn walk_once(&self) -> Result<(), Error> {
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
            let through = self.index.merge(after, &page, last, version);
            after = page.last().map(|letter| letter.id);
            if through {
                self.walked.send_replace(true);
                return Ok(());
            }
        }
    }
}

//! Opening a store, unless a migration is yet to fill it.

use super::core::Core;
use super::store::{Store, StoreError, StoreErrorKind};
use crate::ledger::unfinished::{NOT_ALL_IS_THERE, UNFINISHED_MIGRATION};

impl<S: Store> Core<S> {
    /// Begins to beat, unless a migration into the store is unfinished.
    pub(super) async fn begin_to_beat(&self) -> Result<(), StoreError> {
        // A service that is started again and again must not look like one at work.
        self.refuse_unfinished().await?;
        self.ask_again(|| self.beat()).await?;
        // A migration that began meanwhile did not see the heartbeat.
        let refused = self.refuse_unfinished().await;
        if refused.is_err() {
            let runner = self.life.lock().runner.clone();
            // It lapses by itself, too.
            let _ = self.ask(self.store.retire(&runner, None)).await;
        }
        refused
    }

    async fn refuse_unfinished(&self) -> Result<(), StoreError> {
        let key = UNFINISHED_MIGRATION;
        let notes = self.ask_again(|| self.store.notes(key.to_owned(), None, 1));
        if notes.await?.iter().all(|note| note.key != key) {
            return Ok(());
        }
        Err(StoreError::new(StoreErrorKind::Refused, NOT_ALL_IS_THERE))
    }
}

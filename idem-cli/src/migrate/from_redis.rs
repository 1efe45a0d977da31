//! Redis as the source's server.

use idem_redis::{Redis, RedisStore};
use idem_runtime::ledger::shared::StoreError;

use super::from_shared::{Look, Page, SourceServer};

impl SourceServer for Redis {
    type Store = RedisStore;
    type Place = u64;

    /// `SCAN` may return a row twice.
    const REPEATS: bool = true;

    async fn look(&self) -> Result<Option<Look>, StoreError> {
        let ledger = self.health().await?.ledger;
        Ok(ledger.map(|ledger| Look {
            id: ledger.id,
            changes: ledger.changes,
            last_number: ledger.last_number,
            living: ledger.living,
            unfinished_migration: ledger.unfinished_migration,
        }))
    }

    async fn open(&self) -> Result<RedisStore, StoreError> {
        self.clone().store().await
    }

    async fn page(store: &RedisStore, from: Option<u64>) -> Result<Page<u64>, StoreError> {
        let page = store.records(from.unwrap_or(0)).await?;
        Ok((page.records, page.next))
    }
}

//! PostgreSQL as the source's server.

use idem_postgres::{Postgres, PostgresStore};
use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};

use super::from_shared::{Look, Page, SourceServer};

impl SourceServer for Postgres {
    type Store = PostgresStore;
    type Place = Vec<u8>;

    const REPEATS: bool = false;

    async fn look(&self) -> Result<Option<Look>, StoreError> {
        let health = self.clone().health().await?;
        if let [_, ..] = &health.lacks[..] {
            let (role, lacks) = (health.role, health.lacks.join(", "));
            let why =
                format!("the role `{role}` lacks {lacks}: come as the role that services use");
            return Err(StoreError::new(StoreErrorKind::Refused, why));
        }
        Ok(health.ledger.map(|ledger| Look {
            id: ledger.id,
            changes: ledger.changes,
            last_number: ledger.numbers,
            living: ledger.living,
            unfinished_migration: ledger.unfinished_migration,
        }))
    }

    async fn open(&self) -> Result<PostgresStore, StoreError> {
        self.clone().store().await
    }

    async fn page(
        store: &PostgresStore,
        from: Option<Vec<u8>>,
    ) -> Result<Page<Vec<u8>>, StoreError> {
        let page = store.records(from.as_deref()).await?;
        Ok((page.records, page.next))
    }

    /// Notes have numbers of their own.
    async fn last_number(store: &PostgresStore, _: &Look) -> Result<u64, StoreError> {
        store.last_number().await
    }
}

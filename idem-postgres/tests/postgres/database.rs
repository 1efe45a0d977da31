//! A database of a test's own, and the store in it.

use std::ops::Deref;

use idem_postgres::{Postgres, PostgresStore};
use idem_runtime::ledger::shared::StoreError;
use idem_test_support::servers;

#[derive(Debug, Clone)]
pub(crate) struct Database(servers::Database);

impl Database {
    pub(crate) async fn empty() -> anyhow::Result<Self> {
        Ok(Self(servers::Database::empty().await?))
    }

    pub(crate) async fn store(&self) -> Result<PostgresStore, StoreError> {
        Postgres::new(self.url()).store().await
    }
}

impl Deref for Database {
    type Target = servers::Database;

    fn deref(&self) -> &servers::Database {
        &self.0
    }
}

//! A database of a test's own.

use std::sync::Arc;

use idem_postgres::{Postgres, PostgresStore};
use idem_runtime::ledger::shared::StoreError;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// An empty database. Its server drops it with all others.
#[derive(Debug, Clone)]
pub(crate) struct Database(Arc<str>);

impl Database {
    pub(crate) async fn empty() -> anyhow::Result<Self> {
        let server = std::env::var("IDEM_TEST_POSTGRES")?;
        let name = format!("t{:016x}", fastrand::u64(..));
        let mut admin = PgConnection::connect(&format!("{server}/postgres")).await?;
        let create = format!("CREATE DATABASE {name}");
        admin.execute(AssertSqlSafe(create)).await?;
        Ok(Self(format!("{server}/{name}").into()))
    }

    pub(crate) fn url(&self) -> &str {
        &self.0
    }

    /// Returns the address for another role.
    pub(crate) fn url_of(&self, role: &str) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap();
        let (_, place) = rest.split_once('@').unwrap();
        format!("{scheme}://{role}@{place}")
    }

    pub(crate) async fn store(&self) -> Result<PostgresStore, StoreError> {
        Postgres::new(self.url()).store().await
    }

    pub(crate) async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(self.url()).await
    }
}

//! A database of a test's own, and the store in it.

use std::ops::Deref;
use std::sync::Arc;

use idem_postgres::{Postgres, PostgresStore};
use idem_runtime::ledger::shared::StoreError;
use idem_test_support::servers::{self, Server};

#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// What the store goes through.
    bouncer: Option<Arc<Server>>,
    own: servers::Database,
}

impl Database {
    pub(crate) async fn empty() -> anyhow::Result<Self> {
        Ok(Self {
            bouncer: None,
            own: servers::Database::empty().await?,
        })
    }

    /// Returns one with nothing but a business table, of orders by their numbers.
    pub(crate) async fn with_orders() -> anyhow::Result<Self> {
        let database = Self::empty().await?;
        sqlx::raw_sql("CREATE TABLE orders (order_no text PRIMARY KEY)")
            .execute(&mut database.connect().await?)
            .await?;
        Ok(database)
    }

    /// Returns an empty one behind PgBouncer in transaction mode.
    pub(crate) async fn bounced() -> anyhow::Result<Self> {
        let mut database = Self::empty().await?;
        let bouncer = Server::bouncer(database.server(), 8).await?;
        database.bouncer = Some(Arc::new(bouncer));
        Ok(database)
    }

    pub(crate) async fn store(&self) -> Result<PostgresStore, StoreError> {
        match &self.bouncer {
            None => Postgres::new(self.url()).store().await,
            Some(bouncer) => {
                let url = format!("{}/{}", bouncer.address(), self.name());
                Postgres::new(&url).pgbouncer(true).store().await
            }
        }
    }
}

impl Deref for Database {
    type Target = servers::Database;

    fn deref(&self) -> &servers::Database {
        &self.own
    }
}

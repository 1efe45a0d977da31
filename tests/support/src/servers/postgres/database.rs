//! A database of a test's own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::timeout;

use super::super::{Needs, Server};
use super::POSTGRES;

/// A database on a server that tests share. The last copy of the handle drops it.
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// Creates an empty database, on the server that `IDEM_TEST_POSTGRES` says or on one that the
    /// tests of this process share.
    ///
    /// # Errors
    /// If there is no server.
    pub async fn empty() -> anyhow::Result<Self> {
        let server = match POSTGRES.outside() {
            Some(address) => address,
            None => {
                ensure!(POSTGRES.is_there(), POSTGRES.missed(Needs::Any));
                Server::shared(&POSTGRES).await?.address().to_owned()
            }
        };
        let server = server.trim_end_matches('/').to_owned();
        let name = format!("t{:016x}", fastrand::u64(..));
        ask(&server, &format!("CREATE DATABASE {name}")).await?;
        let url = format!("{server}/{name}");
        Ok(Self(Arc::new(Inner { server, name, url })))
    }

    /// Returns its address for clients.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Returns its server's address.
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns its address for another role.
    pub fn url_of(&self, role: &str) -> String {
        let place = self.0.url.split_once('@').map_or("", |(_, place)| place);
        format!("postgres://{role}@{place}")
    }

    /// Connects to it.
    pub async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(self.url()).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The test's runtime may be gone, or must not be blocked.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                // What stays goes with the server.
                let _ = runtime.block_on(async {
                    timeout(Duration::from_secs(10), ask(&self.server, &drop)).await
                });
                std::io::Result::Ok(())
            });
        });
    }
}

/// Sends one statement to the server's own database.
pub(super) async fn ask(server: &str, statement: &str) -> anyhow::Result<()> {
    let mut admin = PgConnection::connect(&format!("{server}/postgres"))
        .await
        .with_context(|| format!("no connection to {server}"))?;
    admin.execute(AssertSqlSafe(statement)).await?;
    Ok(admin.close().await?)
}

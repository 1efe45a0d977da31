//! What stands around a PostgreSQL of the test's own: replicas, a pooler, a certificate.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::ensure;
use tempfile::TempDir;

use super::super::kinds::{Kind, Runs};
use super::super::{Needs, Server};
use super::database::ask;
use super::{PGBOUNCER, POSTGRES, files};
use crate::tls;

/// Whether a commit waits for its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standby {
    /// It does not.
    Async,
    /// It waits until the replica has it on disk.
    Sync,
}

impl Server {
    /// Starts a replica, which follows this PostgreSQL at `address`: its own, or a wire's.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn replica(&self, address: &str, standby: Standby) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        files::give(folder.path(), &data)?;
        let (data, from) = (data.display().to_string(), format!("{address}/postgres"));
        let arguments = [
            "-D",
            &data,
            "-d",
            &from,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ];
        let arguments = arguments.map(ToOwned::to_owned).into();
        files::run_not_as_root(folder.path(), "pg_basebackup", arguments)?;
        let replica = Self::start_in(&POSTGRES, folder).await?;
        if standby == Standby::Sync {
            self.set("synchronous_standby_names", "*").await?;
        }
        Ok(replica)
    }

    /// Makes a replica a server that takes writes, and returns when it does.
    ///
    /// # Errors
    /// If it is no replica.
    pub async fn promote(&self) -> anyhow::Result<()> {
        ask(self.address(), "SELECT pg_promote()").await
    }

    /// Changes a setting of this PostgreSQL, for connections that are there too.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn set(&self, setting: &str, value: &str) -> anyhow::Result<()> {
        let change = format!("ALTER SYSTEM SET {setting} = '{value}'");
        ask(self.address(), &change).await?;
        ask(self.address(), "SELECT pg_reload_conf()").await
    }

    /// Gives this PostgreSQL a certificate for 127.0.0.1, and returns the authority's, in PEM.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn certify(&self) -> anyhow::Result<String> {
        let identity = tls::identity(&["127.0.0.1"]);
        let folder = self.running()?.folder.path();
        let files = [
            ("server.crt", &identity.files.0),
            ("server.key", &identity.files.1),
        ];
        for (name, content) in files {
            let file = folder.join("data").join(name);
            fs::write(&file, content)?;
            fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            files::give(folder, &file)?;
        }
        self.set("ssl", "on").await?;
        Ok(identity.root)
    }

    /// Starts a PgBouncer in transaction mode in front of the PostgreSQL at `address`. It has so
    /// many connections to the server.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn bouncer(address: &str, connections: usize) -> anyhow::Result<Self> {
        ensure!(PGBOUNCER.is_there(), PGBOUNCER.missed(Needs::Own));
        let (_, place) = address.rsplit_once('@').unwrap_or(("", address));
        let (host, port) = place.split_once(':').unwrap_or((place, "5432"));
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("pgbouncer.ini");
        fs::write(&config, bouncer(host, port, connections))?;
        files::give(folder.path(), &config)?;
        Self::start_in(&PGBOUNCER, folder).await
    }

    async fn start_in(kind: &'static Kind, folder: TempDir) -> anyhow::Result<Self> {
        match &kind.runs {
            Runs::Processes(processes) => Self::launch(kind, processes, Needs::Own, folder).await,
            #[cfg(feature = "kafka")]
            Runs::Inside => anyhow::bail!("{} has no files", kind.name),
        }
    }
}

fn bouncer(host: &str, port: &str, connections: usize) -> String {
    format!(
        "[databases]
* = host={host} port={port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 1000
default_pool_size = {connections}
server_login_retry = 0.1
listen_port = 0
"
    )
}

//! An authority of a test's own, and servers with a certificate from it.

use std::path::Path;

use idem_redis::Redis;
use idem_test_support::servers::{Server, free_port};
use idem_test_support::tls::identity;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::{connect, written};

/// A certificate in files, and the authority that clients trust.
pub(crate) struct Secrets {
    folder: TempDir,
    pub(crate) root: String,
    /// The certificate and its key.
    pub(crate) identity: (String, String),
}

impl Secrets {
    /// Makes a certificate for a name.
    pub(crate) fn of(name: &str) -> anyhow::Result<Self> {
        let identity = identity(&[name]);
        let secrets = Self {
            folder: tempfile::tempdir()?,
            root: identity.root,
            identity: identity.files,
        };
        std::fs::write(secrets.path("root"), &secrets.root)?;
        std::fs::write(secrets.path("certificate"), &secrets.identity.0)?;
        std::fs::write(secrets.path("key"), &secrets.identity.1)?;
        Ok(secrets)
    }

    fn path(&self, name: &str) -> String {
        Path::new(self.folder.path())
            .join(name)
            .display()
            .to_string()
    }

    /// Returns the server's settings, each a name and a value.
    pub(crate) fn files(&self) -> [(&'static str, String); 4] {
        [
            ("tls-cert-file", self.path("certificate")),
            ("tls-key-file", self.path("key")),
            ("tls-ca-cert-file", self.path("root")),
            ("tls-auth-clients", "no".to_owned()),
        ]
    }

    /// Gives a server the certificate.
    pub(crate) async fn give(&self, told: &mut MultiplexedConnection) -> anyhow::Result<()> {
        let files = self.files().map(|(name, value)| format!("{name} {value}"));
        set(told, &files.join(" ")).await
    }

    /// Lets a server speak TLS with clients and other servers, on a port that is returned.
    pub(crate) async fn serve(&self, server: &Server, more: &[&str]) -> anyhow::Result<u16> {
        let (mut told, port) = (connect(server).await?, free_port()?);
        self.give(&mut told).await?;
        let port_setting = format!("tls-port {port}");
        for setting in ["tls-replication yes"]
            .iter()
            .chain(more)
            .chain([&&*port_setting])
        {
            set(&mut told, setting).await?;
        }
        Ok(port)
    }

    /// Lets a sentinel speak TLS, on a port that is returned. It takes no setting while it runs.
    pub(crate) async fn watch(&self, sentinel: &Server) -> anyhow::Result<u16> {
        let port = free_port()?;
        sentinel.kill()?;
        let files = self
            .files()
            .map(|(name, value)| format!("{name} {value}\n"));
        let settings = format!("{}tls-replication yes\ntls-port {port}", files.concat());
        sentinel.append("sentinel.conf", &settings)?;
        sentinel.restart().await?;
        Ok(port)
    }

    /// Returns a ledger at an address that is encrypted.
    pub(crate) fn redis(&self, address: &str) -> Redis {
        Redis::new(address).root_certificates(self.root.clone())
    }
}

pub(crate) async fn set(told: &mut MultiplexedConnection, setting: &str) -> anyhow::Result<()> {
    let setting = written(&format!("CONFIG SET {setting}"));
    Ok(setting.query_async::<()>(told).await?)
}

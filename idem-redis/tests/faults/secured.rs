//! TLS with certificates of the test's own authority.

use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use idem_redis::Redis;
use idem_test_support::servers::Server;
use idem_test_support::tls::identity;
use libtest_mimic::Trial;
use redis::aio::MultiplexedConnection;

use crate::shop::{Shop, process_with};
use crate::{connect, port, test, written};

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("secured::by_certificates_that_are_checked", checked),
        test("secured::what_cannot_be_read_is_said", unreadable),
    ]
}

/// Gives the server a certificate for this name. Returns its authority's, and it with its key.
async fn certify(
    told: &mut MultiplexedConnection,
    folder: &Path,
    name: &str,
) -> anyhow::Result<(String, (String, String))> {
    let identity = identity(&[name]);
    let path = |name: &str| folder.join(name).display().to_string();
    let (root, certificate, key) = (path("root"), path("certificate"), path("key"));
    std::fs::write(&root, &identity.root)?;
    std::fs::write(&certificate, &identity.files.0)?;
    std::fs::write(&key, &identity.files.1)?;
    let files = format!("tls-cert-file {certificate} tls-key-file {key} tls-ca-cert-file {root}");
    let setting = written(&format!("CONFIG SET {files}"));
    setting.query_async::<()>(told).await?;
    Ok((identity.root, identity.files))
}

async fn set(told: &mut MultiplexedConnection, setting: &str) -> anyhow::Result<()> {
    let setting = written(&format!("CONFIG SET {setting}"));
    Ok(setting.query_async::<()>(told).await?)
}

async fn is_refused(redis: Redis, why: &str) -> anyhow::Result<()> {
    let told = redis.health().await.err().map(|error| format!("{error:#}"));
    ensure!(
        told.as_ref().is_some_and(|told| told.contains(why)),
        "{told:?}"
    );
    Ok(())
}

async fn checked(server: Arc<Server>) -> anyhow::Result<()> {
    let (mut told, port) = (connect(&server).await?, port(&server));
    let folder = tempfile::tempdir()?;
    let secured = || Redis::new(&format!("rediss://127.0.0.1:{port}"));
    let (root, _) = certify(&mut told, folder.path(), "redis.example").await?;
    set(&mut told, "tls-auth-clients no").await?;
    set(&mut told, "port 0").await?;
    set(&mut told, &format!("tls-port {port}")).await?;
    is_refused(secured(), "Redis::root_certificates").await?;
    let named = secured().root_certificates(root);
    is_refused(named, "the server's certificate is of another name").await?;

    let (root, (certificate, key)) = certify(&mut told, folder.path(), "127.0.0.1").await?;
    let secured = || secured().root_certificates(root.clone());
    let shop = Arc::<Shop>::default();
    let idem = process_with(secured()).await?;
    shop.deliver(&idem, "A-1").await;
    idem.close().await?;

    set(&mut told, "tls-auth-clients yes").await?;
    is_refused(secured(), "Redis::client_certificate").await?;
    let secured = || secured().client_certificate(certificate.clone(), key.clone());
    let idem = process_with(secured()).await?;
    shop.deliver(&idem, "A-2").await;
    shop.judge(&idem).await?;
    Ok(idem.close().await?)
}

async fn unreadable(server: Arc<Server>) -> anyhow::Result<()> {
    let secured = || Redis::new("rediss://redis.example");
    is_refused(secured().root_certificates("no PEM"), "root certificate").await?;
    is_refused(secured().client_certificate("no", "PEM"), "its key").await?;
    let plain = Redis::new(server.address()).root_certificates("no PEM");
    is_refused(plain, "rediss://").await?;
    for url in [
        "redis.example",
        "redis-sentinel://redis.example",
        "redis://secret@a,b:x",
    ] {
        is_refused(Redis::new(url), "cannot be read").await?;
        let told = Redis::new(url).health().await;
        ensure!(!format!("{told:?}").contains("secret"), "{told:?}");
    }
    Ok(())
}

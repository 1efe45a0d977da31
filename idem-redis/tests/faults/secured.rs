//! TLS with certificates of the test's own authority.

use std::sync::Arc;

use anyhow::ensure;
use idem_redis::Redis;
use idem_test_support::servers::Server;
use libtest_mimic::Trial;

use crate::secrets::{Secrets, set};
use crate::shop::{Shop, process_with};
use crate::{connect, port, test};

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("secured::by_certificates_that_are_checked", checked),
        test("secured::what_cannot_be_read_is_said", unreadable),
    ]
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
    let secured = || Redis::new(&format!("rediss://127.0.0.1:{port}"));
    let secrets = Secrets::of("redis.example")?;
    secrets.give(&mut told).await?;
    set(&mut told, "port 0").await?;
    set(&mut told, &format!("tls-port {port}")).await?;
    is_refused(secured(), "Redis::root_certificates").await?;
    let named = secured().root_certificates(secrets.root);
    is_refused(named, "the server's certificate is of another name").await?;

    let secrets = Secrets::of("127.0.0.1")?;
    secrets.give(&mut told).await?;
    let secured = || secured().root_certificates(secrets.root.clone());
    let shop = Arc::<Shop>::default();
    let idem = process_with(secured()).await?;
    shop.deliver(&idem, "A-1").await;
    idem.close().await?;

    set(&mut told, "tls-auth-clients yes").await?;
    is_refused(secured(), "Redis::client_certificate").await?;
    let (certificate, key) = secrets.identity.clone();
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

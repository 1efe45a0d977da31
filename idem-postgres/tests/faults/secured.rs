//! TLS with a certificate of the server's own.

use std::sync::Arc;

use anyhow::{Context, ensure};
use idem_test_support::servers::Server;
use libtest_mimic::Trial;

use crate::load::deliver;
use crate::shop::{MODES, Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![test("secured::by_a_certificate_that_is_checked", checked)]
}

async fn checked(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("root.pem");
    let address = format!(
        "{}/postgres?sslmode=verify-full&sslrootcert=",
        server.address()
    );
    let with_root = format!("{address}{}", root.display());
    // An authority that the server's certificate is not from.
    std::fs::write(&root, idem_test_support::tls::identity(&["127.0.0.1"]).root)?;
    ensure!(process(&with_root).await.is_err(), "no TLS yet");
    let authority = server.certify().await?;
    let refused = process(&with_root)
        .await
        .err()
        .context("another authority")?;
    ensure!(
        !format!("{refused:#}").contains("sslrootcert"),
        "no URL in {refused}"
    );
    std::fs::write(&root, authority)?;
    let idem = process(&with_root).await?;
    for mode in MODES {
        deliver(&shop, &idem, mode, &format!("{mode:?}-1")).await;
    }
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'idem'";
    let encrypted = sqlx::query_scalar::<_, bool>(encrypted);
    ensure!(
        encrypted.fetch_one(&mut shop.connect().await?).await?,
        "all of it is encrypted"
    );
    idem.close().await?;
    shop.judge().await
}

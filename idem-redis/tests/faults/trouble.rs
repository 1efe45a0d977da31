//! The server is in trouble, and forgets nothing.

use std::sync::Arc;

use anyhow::ensure;
use idem_test_support::servers::Server;
use idem_test_support::within;
use libtest_mimic::Trial;

use crate::shop::{Load, Shop, is_unavailable, process};
use crate::{tell, test};

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("trouble::a_server_that_is_killed_under_load", killed),
        test("trouble::scripts_are_flushed_under_load", scripts_flushed),
        test("trouble::clients_are_paused_under_load", paused),
        test("trouble::a_server_that_stands_still", frozen),
        test("trouble::a_connection_that_is_lost_unheard", lost_unheard),
        test("trouble::a_server_without_memory_takes_no_write", full),
        test("trouble::a_primary_that_is_demoted_takes_no_write", demoted),
    ]
}

/// Runs a load while something happens three times, and judges it.
async fn under_load<F>(server: &Server, fault: impl Fn() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let shop = Arc::<Shop>::default();
    let idems = [
        process(server.address()).await?,
        process(server.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    for _ in 0..3 {
        shop.goes_on(30).await;
        fault().await?;
    }
    shop.goes_on(30).await;
    load.ends_right(&shop, idems).await
}

/// It flushes its file before it answers (`appendfsync always`), so what was acknowledged is there.
async fn killed(server: Arc<Server>) -> anyhow::Result<()> {
    under_load(&server, || async {
        server.kill()?;
        server.restart().await
    })
    .await
}

async fn scripts_flushed(server: Arc<Server>) -> anyhow::Result<()> {
    under_load(&server, || tell(&server, "SCRIPT FLUSH")).await
}

async fn paused(server: Arc<Server>) -> anyhow::Result<()> {
    under_load(&server, || tell(&server, "CLIENT PAUSE 300 ALL")).await
}

/// The server stands still until the call has ended with an error.
async fn frozen(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let idem = process(server.address()).await?;
    shop.deliver(&idem, "A-1").await;
    server.freeze()?;
    let told = within(shop.place(&idem, "A-2")).await;
    server.thaw()?;
    ensure!(told.is_err_and(|error| is_unavailable(&error)));
    shop.deliver(&idem, "A-2").await;
    shop.judge(&idem).await?;
    Ok(idem.close().await?)
}

/// No byte passes through its connections any more, and they do not end.
async fn lost_unheard(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let wire = server.wire().await?;
    let idem = process(wire.address()).await?;
    shop.deliver(&idem, "A-1").await;
    wire.lose()?;
    within(shop.deliver(&idem, "A-2")).await;
    shop.judge(&idem).await?;
    Ok(idem.close().await?)
}

async fn full(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let idem = process(server.address()).await?;
    shop.deliver(&idem, "A-1").await;
    tell::<()>(&server, "CONFIG SET maxmemory 1").await?;
    let told = within(shop.place(&idem, "A-2")).await;
    let told = told.err().map(|error| format!("{error:#}"));
    ensure!(
        told.as_ref()
            .is_some_and(|told| told.contains("out of memory")),
        "{told:?}"
    );
    tell::<()>(&server, "CONFIG SET maxmemory 0").await?;
    within(shop.deliver(&idem, "A-2")).await;
    ensure!(shop.runs("A-2") == 1, "nothing ran that was not claimed");
    shop.judge(&idem).await?;
    Ok(idem.close().await?)
}

async fn demoted(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let idem = process(server.address()).await?;
    shop.deliver(&idem, "A-1").await;
    // A primary that is not there: it keeps its data, and answers reads.
    tell::<()>(&server, "REPLICAOF 127.0.0.1 1").await?;
    let told = within(shop.place(&idem, "A-2")).await;
    ensure!(told.is_err_and(|error| is_unavailable(&error)));
    ensure!(shop.runs("A-2") == 0, "nothing ran that was not claimed");
    tell::<()>(&server, "REPLICAOF NO ONE").await?;
    within(shop.deliver(&idem, "A-2")).await;
    shop.judge(&idem).await?;
    Ok(idem.close().await?)
}

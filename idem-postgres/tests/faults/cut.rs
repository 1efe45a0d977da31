//! Connections end, the server lives.

use std::sync::Arc;

use idem_test_support::servers::{Server, Standby};
use libtest_mimic::Trial;

use crate::load::{Load, commits_unheard};
use crate::shop::{Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("cut::a_network_that_is_cut_under_load", by_the_network),
        test(
            "cut::sessions_that_the_server_ends_under_load",
            by_the_server,
        ),
        test("cut::in_the_middle_of_a_commit", in_a_commit),
    ]
}

async fn by_the_network(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let wire = server.wire().await?;
    let idems = [
        process(server.address()).await?,
        process(wire.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    for _ in 0..8 {
        shop.goes_on(12).await;
        wire.cut()?;
        wire.mend()?;
    }
    shop.goes_on(30).await;
    load.end().await
}

async fn by_the_server(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idems = [
        process(server.address()).await?,
        process(server.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    for _ in 0..8 {
        shop.goes_on(12).await;
        shop.end_sessions().await?;
    }
    shop.goes_on(30).await;
    load.end().await
}

/// The commit takes place when its replica goes on; by then nobody hears of it.
async fn in_a_commit(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let wire = server.wire().await?;
    let idem = process(wire.address()).await?;
    let replica = server.replica(server.address(), Standby::Sync).await?;
    let (wire, standby) = (&wire, &replica);
    commits_unheard(&shop, &idem, standby, || async move {
        wire.cut()?;
        wire.mend()?;
        standby.thaw()
    })
    .await?;
    idem.close().await?;
    shop.judge().await
}

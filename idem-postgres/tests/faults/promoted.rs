//! A replica takes over. The ledger's address leads to it, as a name or a virtual address does.

use std::sync::Arc;

use anyhow::ensure;
use idem_test_support::servers::{Server, Standby};
use libtest_mimic::Trial;

use crate::load::{Load, deliver};
use crate::shop::{MODES, Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test(
            "promoted::a_synchronous_replica_has_all_that_was_answered",
            synchronous,
        ),
        test(
            "promoted::a_replica_that_lags_has_neither_row_nor_record",
            lagging,
        ),
    ]
}

async fn synchronous(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let replica = server.replica(server.address(), Standby::Sync).await?;
    let wire = server.wire().await?;
    let idems = [
        process(wire.address()).await?,
        process(wire.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    shop.goes_on(60).await;
    server.kill()?;
    replica.promote().await?;
    // It has inherited the setting, and has no replica of its own.
    replica.set("synchronous_standby_names", "").await?;
    wire.lead_to(&replica)?;
    shop.move_to(replica.address());
    shop.goes_on(60).await;
    load.end().await?;
    ensure!(shop.timeline().await? == 2, "the new timeline is noted");
    Ok(())
}

/// What was answered since the replica lost its primary is missing. It is missing whole, so that the
/// orders are placed when their messages come again.
async fn lagging(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let (wire, stream) = (server.wire().await?, server.wire().await?);
    let idem = process(wire.address()).await?;
    let replica = server.replica(stream.address(), Standby::Async).await?;
    for mode in MODES {
        deliver(&shop, &idem, mode, &format!("{mode:?}-kept")).await;
    }
    shop.wait_for_the_replica().await?;
    stream.cut()?;
    for mode in MODES {
        deliver(&shop, &idem, mode, &format!("{mode:?}-lost")).await;
    }
    server.kill()?;
    replica.promote().await?;
    wire.lead_to(&replica)?;
    shop.move_to(replica.address());
    shop.forgets("-lost");
    for mode in MODES {
        let order_no = format!("{mode:?}-lost");
        ensure!(shop.rows(&order_no).await?.is_empty(), "{order_no} is kept");
        for what in ["kept", "lost"] {
            deliver(&shop, &idem, mode, &format!("{mode:?}-{what}")).await;
        }
        ensure!(shop.runs(&format!("{mode:?}-kept")) == 1, "it is done");
    }
    idem.close().await?;
    shop.judge().await
}

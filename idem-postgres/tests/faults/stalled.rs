//! The network stands still: no connection ends, and no answer comes.

use std::sync::Arc;

use idem_test_support::servers::Server;
use libtest_mimic::Trial;
use tokio::time::sleep;

use crate::load::{Load, deliver};
use crate::shop::{LEASE, MODES, Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("stalled::for_moments_under_load", for_moments),
        test(
            "stalled::a_server_that_stands_still_under_load",
            a_frozen_server,
        ),
        test("stalled::past_the_lease_of_one_process", past_the_lease),
        test("stalled::connections_that_never_answer_again", for_ever),
    ]
}

async fn for_moments(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let wire = server.wire().await?;
    let idems = [
        process(server.address()).await?,
        process(wire.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    for moment in [LEASE / 8, LEASE / 2, LEASE * 3 / 2] {
        shop.goes_on(30).await;
        wire.stall()?;
        // The fault is how long it lasts.
        sleep(moment).await;
        wire.mend()?;
    }
    shop.goes_on(30).await;
    load.end().await
}

async fn a_frozen_server(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idems = [
        process(server.address()).await?,
        process(server.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    for moment in [LEASE / 2, LEASE * 2] {
        shop.goes_on(30).await;
        server.freeze()?;
        sleep(moment).await;
        server.thaw()?;
    }
    shop.goes_on(30).await;
    load.end().await
}

/// The other process places the orders meanwhile; what the first one wrote is not there.
async fn past_the_lease(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let wire = server.wire().await?;
    let (idem, other) = (
        process(wire.address()).await?,
        process(server.address()).await?,
    );
    for mode in MODES {
        let order_no = format!("{mode:?}-1");
        shop.hold(1);
        let work = async {
            shop.holds(1).await;
            wire.stall()?;
            deliver(&shop, &other, mode, &order_no).await;
            wire.mend()?;
            shop.let_go();
            anyhow::Ok(())
        };
        tokio::join!(deliver(&shop, &idem, mode, &order_no), work).1?;
        assert_eq!(shop.runs(&order_no), 2);
    }
    idem.close().await?;
    other.close().await?;
    shop.judge().await
}

/// A firewall forgot the connections: whatever is sent on them gets nowhere.
async fn for_ever(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let wire = server.wire().await?;
    let idems = [process(wire.address()).await?];
    let load = Load::start(&shop, &idems);
    for _ in 0..2 {
        shop.goes_on(30).await;
        wire.lose()?;
    }
    shop.goes_on(60).await;
    load.end().await
}

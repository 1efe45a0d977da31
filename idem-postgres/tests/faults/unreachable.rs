//! What is not reachable is an error within a deadline.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use idem_postgres::Postgres;
use idem_runtime::{Error, Idem};
use idem_test_support::servers::{Server, Standby};
use libtest_mimic::Trial;
use tokio::time::timeout;

use crate::shop::{MODES, PlaceError, Shop, process};
use crate::test;

/// Twice the time after which a call gives up.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("unreachable::a_call_while_the_server_is_down", down),
        test(
            "unreachable::a_call_while_the_network_stands_still",
            stalled,
        ),
        test(
            "unreachable::a_body_while_the_network_stands_still",
            in_the_body,
        ),
        test("unreachable::at_the_opening", at_the_opening),
        test("unreachable::at_an_opening_that_waits", opening_waits),
    ]
}

async fn down(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idem = process(server.address()).await?;
    server.kill()?;
    fails_in_each_mode(&shop, &idem).await?;
    server.restart().await?;
    works_in_each_mode(&shop, &idem).await
}

async fn stalled(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let wire = server.wire().await?;
    let idem = process(wire.address()).await?;
    wire.stall()?;
    fails_in_each_mode(&shop, &idem).await?;
    wire.mend()?;
    works_in_each_mode(&shop, &idem).await
}

async fn in_the_body(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let wire = server.wire().await?;
    let idem = process(wire.address()).await?;
    for mode in MODES {
        let order_no = format!("{mode:?}-1");
        shop.hold(1);
        let work = async {
            shop.holds(1).await;
            wire.stall()?;
            shop.let_go();
            anyhow::Ok(())
        };
        let called = timeout(2 * DEADLINE, shop.place(&idem, mode, &order_no));
        let (called, worked) = tokio::join!(called, work);
        worked?;
        let called = called.with_context(|| format!("{order_no} does not end"))?;
        ensure!(
            called.as_ref().is_err_and(PlaceError::is_unavailable),
            "{called:?}"
        );
        wire.mend()?;
    }
    works_in_each_mode(&shop, &idem).await
}

async fn at_the_opening(server: Arc<Server>) -> anyhow::Result<()> {
    let wire = server.wire().await?;
    wire.stall()?;
    let replica = server.replica(server.address(), Standby::Async).await?;
    let nobody = "postgres://postgres@127.0.0.1:1/postgres";
    for address in [nobody, wire.address(), replica.address()] {
        let opened = timeout(DEADLINE, process(address)).await;
        let refused = opened.with_context(|| format!("{address} does not end"))?;
        let refused = refused.err().context("nobody is there who could answer")?;
        let text = format!("{refused:#}");
        ensure!(matches!(refused, Error::Ledger { .. }), "{text}");
    }
    Ok(())
}

async fn opening_waits(server: Arc<Server>) -> anyhow::Result<()> {
    server.kill()?;
    ensure!(
        process(server.address()).await.is_err(),
        "the server is down"
    );
    let waiting = Idem::builder()
        .wait_for(Duration::from_secs(600))
        .open_with(Postgres::connect(server.address()));
    let (opened, restarted) = tokio::join!(timeout(DEADLINE, waiting), server.restart());
    restarted?;
    opened.context("it still waits")??.close().await?;
    Ok(())
}

async fn fails_in_each_mode(shop: &Arc<Shop>, idem: &Idem) -> anyhow::Result<()> {
    for mode in MODES {
        let order_no = format!("{mode:?}-1");
        let called = timeout(DEADLINE, shop.place(idem, mode, &order_no)).await;
        let called = called.with_context(|| format!("{order_no} does not end"))?;
        ensure!(
            called.as_ref().is_err_and(PlaceError::is_unavailable),
            "{called:?}"
        );
        ensure!(shop.runs(&order_no) == 0, "{order_no} ran without a claim");
    }
    Ok(())
}

async fn works_in_each_mode(shop: &Arc<Shop>, idem: &Idem) -> anyhow::Result<()> {
    for mode in MODES {
        let order_no = format!("{mode:?}-1");
        crate::load::deliver(shop, idem, mode, &order_no).await;
    }
    idem.close().await?;
    shop.judge().await
}

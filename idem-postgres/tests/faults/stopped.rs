//! A process is stopped past its lease, and goes on when another one has taken its claim.

use std::sync::Arc;

use anyhow::ensure;
use idem_test_support::servers::Server;
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::child::Process;
use crate::load::deliver;
use crate::shop::{MODES, Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test(
            "stopped::its_answer_and_its_rows_are_refused",
            past_the_lease,
        ),
        test(
            "stopped::another_process_does_not_wait_for_its_rows",
            with_a_unique_row,
        ),
    ]
}

async fn past_the_lease(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    stopped(&server, &shop).await
}

/// The business table's own index makes the other process wait for the transaction that stands still.
async fn with_a_unique_row(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    sqlx::raw_sql("ALTER TABLE orders ADD PRIMARY KEY (order_no)")
        .execute(&mut shop.connect().await?)
        .await?;
    stopped(&server, &shop).await
}

async fn stopped(server: &Server, shop: &Arc<Shop>) -> anyhow::Result<()> {
    let idem = process(server.address()).await?;
    for mode in MODES {
        let order_no = format!("{mode:?}-1");
        let mut child = Process::holds(server.address(), &order_no)?;
        ensure!(child.line()?.as_deref() == Some("held"));
        child.signal(Signal::STOP)?;
        let taken = deliver(shop, &idem, mode, &order_no);
        let receipt = idem_test_support::within(taken).await;
        child.signal(Signal::CONT)?;
        child.let_go()?;
        let said = child.line()?.unwrap_or_default();
        // It is told that it lost, or what the other process answered.
        let run = said.parse::<i64>();
        ensure!(run.is_err() || run == Ok(receipt.run), "{said}");
    }
    idem.close().await?;
    shop.judge().await
}

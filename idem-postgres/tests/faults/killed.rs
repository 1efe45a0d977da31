//! The server ends, and comes back on its files.

use std::sync::Arc;

use idem_test_support::servers::{Server, Standby};
use libtest_mimic::Trial;

use crate::load::{Load, commits_unheard, deliver};
use crate::shop::{Mode, Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test(
            "killed::a_server_that_is_killed_under_load_comes_back",
            |server| ends_under_load(server, "KILL"),
        ),
        test(
            "killed::a_server_that_is_shut_down_under_load_comes_back",
            |server| ends_under_load(server, "INT"),
        ),
        test(
            "killed::a_server_that_is_shut_down_at_once_under_load_comes_back",
            |server| ends_under_load(server, "QUIT"),
        ),
        test("killed::a_server_that_need_not_flush", unsynced),
        test("killed::in_the_middle_of_a_transaction", in_a_transaction),
        test("killed::in_the_middle_of_a_commit", in_a_commit),
    ]
}

async fn ends_under_load(server: Arc<Server>, signal: &'static str) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idems = [
        process(server.address()).await?,
        process(server.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    for _ in 0..3 {
        shop.goes_on(30).await;
        server.shut_down(signal)?;
        server.restart().await?;
    }
    shop.goes_on(30).await;
    load.end().await
}

/// What the role or the database says does not count for what the ledger writes.
async fn unsynced(server: Arc<Server>) -> anyhow::Result<()> {
    server.set("synchronous_commit", "off").await?;
    server.set("wal_writer_delay", "10000").await?;
    ends_under_load(server, "KILL").await
}

async fn in_a_transaction(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idem = process(server.address()).await?;
    let orders = [(Mode::Counted, "Counted-1"), (Mode::Single, "Single-1")];
    shop.hold(orders.len());
    let work = async {
        shop.holds(orders.len()).await;
        server.kill()?;
        server.restart().await?;
        shop.let_go();
        anyhow::Ok(())
    };
    let [one, other] = orders.map(|(mode, order_no)| deliver(&shop, &idem, mode, order_no));
    tokio::join!(one, other, work).2?;
    for (_, order_no) in orders {
        assert_eq!(shop.runs(order_no), 2, "the first transaction is gone");
    }
    idem.close().await?;
    shop.judge().await
}

/// The commit is on the server's disk when it waits for a replica that stands still: then its answer
/// cannot come.
async fn in_a_commit(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idem = process(server.address()).await?;
    let replica = server.replica(server.address(), Standby::Sync).await?;
    let (server, standby) = (&*server, &replica);
    commits_unheard(&shop, &idem, standby, || async move {
        server.kill()?;
        standby.thaw()?;
        server.restart().await
    })
    .await?;
    idem.close().await?;
    shop.judge().await
}

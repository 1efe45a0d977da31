//! More work than connections.

use std::sync::Arc;

use idem_postgres::Postgres;
use idem_test_support::servers::Server;
use libtest_mimic::Trial;
use sqlx::postgres::PgPoolOptions;

use crate::load::Load;
use crate::shop::{Shop, process, process_with};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test(
            "exhausted::one_connection_for_all_transactions",
            one_for_transactions,
        ),
        test(
            "exhausted::a_pool_of_the_service_with_one_connection",
            one_for_all,
        ),
        test(
            "exhausted::a_server_that_takes_no_more_connections",
            none_left,
        ),
    ]
}

async fn one_for_transactions(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let one = || process_with(Postgres::new(server.address()).connections(1));
    let load = Load::start(&shop, &[one().await?, one().await?]);
    shop.goes_on(100).await;
    load.end().await
}

async fn one_for_all(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let pool = || {
        PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy(server.address())
    };
    let one = async || {
        let pool = pool()?;
        anyhow::Ok(process_with(Postgres::with_pool(pool)).await?)
    };
    let load = Load::start(&shop, &[one().await?, one().await?]);
    shop.goes_on(60).await;
    load.end().await
}

async fn none_left(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idems = [
        process(server.address()).await?,
        process(server.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    shop.goes_on(30).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        // Each time fewer are left for the ledger, which then has to connect again.
        while let Ok(other) = shop.connect().await {
            others.push(other);
        }
        let mut administrator = others.pop().unwrap();
        shop.end_sessions_by(&mut administrator).await?;
    }
    drop(others);
    shop.goes_on(30).await;
    load.end().await
}

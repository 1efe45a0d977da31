//! More work than connections.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_postgres::Postgres;
use idem_runtime::ledger::shared::Store;
use idem_test_support::servers::Server;
use libtest_mimic::Trial;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection};

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
        test("exhausted::a_role_that_may_have_few_connections", few),
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

/// A process refuses to open with fewer than it needs, and works with as many.
async fn few(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    process(server.address()).await?.close().await?;
    let mut administrator = shop.connect().await?;
    let grants = "CREATE ROLE few LOGIN CONNECTION LIMIT 6; GRANT USAGE ON SCHEMA idem TO few;
        GRANT ALL ON ALL TABLES IN SCHEMA idem, public TO few;
        GRANT ALL ON ALL SEQUENCES IN SCHEMA idem TO few";
    sqlx::raw_sql(grants).execute(&mut administrator).await?;
    let address = server.address().replace("postgres@", "few@") + "/postgres";
    let refused = process(&address)
        .await
        .err()
        .map(|error| format!("{error:#}"));
    let refused = refused.unwrap_or_default();
    for word in ["`few`", "may have 6", "needs 7", "ALTER ROLE"] {
        ensure!(refused.contains(word), "{refused}");
    }
    let raise = "ALTER ROLE few CONNECTION LIMIT 7";
    sqlx::raw_sql(raise).execute(&mut administrator).await?;
    let load = Load::start(&shop, &[process(&address).await?]);
    shop.goes_on(60).await;
    load.end().await?;

    // All are taken: the one that opens hears of it, and the one whose pool hides the server's answer.
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(1));
    let store = Postgres::with_pool(pool.connect_lazy(&address)?)
        .store()
        .await?;
    let mut taken = Vec::new();
    while let Ok(one) = PgConnection::connect(&address).await {
        taken.push(one);
    }
    let opening = Postgres::new(&address).store().await.err();
    let reading = store.read(Vec::new()).await.err();
    for error in [opening, reading] {
        let error = error.map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(error.contains("too many connections for role"), "{error}");
        ensure!(error.contains("docs/postgres.md"), "{error}");
    }
    Ok(())
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

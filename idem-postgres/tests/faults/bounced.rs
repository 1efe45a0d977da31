//! PgBouncer in transaction mode stands between; the laws run through it too.

use std::sync::Arc;

use idem_postgres::Postgres;
use idem_test_support::servers::Server;
use libtest_mimic::Trial;

use crate::load::Load;
use crate::shop::{Shop, process_with};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("bounced::a_pooler_that_is_not_named_is_an_error", unnamed),
        test("bounced::a_pooler_and_a_server_that_are_killed", killed),
    ]
}

async fn unnamed(server: Arc<Server>) -> anyhow::Result<()> {
    let bouncer = Server::bouncer(server.address(), 8).await?;
    let refused = Postgres::new(bouncer.address()).store().await.unwrap_err();
    anyhow::ensure!(refused.message.contains("pgbouncer(true)"), "{refused}");
    Ok(())
}

async fn killed(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let bouncer = Server::bouncer(server.address(), 8).await?;
    let process = || process_with(Postgres::new(bouncer.address()).pgbouncer(true));
    let load = Load::start(&shop, &[process().await?, process().await?]);
    shop.goes_on(30).await;
    bouncer.kill()?;
    bouncer.restart().await?;
    shop.goes_on(30).await;
    server.kill()?;
    server.restart().await?;
    shop.goes_on(30).await;
    load.end().await
}

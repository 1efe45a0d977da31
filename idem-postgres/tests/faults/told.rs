//! An error says each of its causes once.

use std::sync::Arc;

use anyhow::{Context, ensure};
use idem_postgres::Postgres;
use idem_runtime::{Error, Idem};
use idem_test_support::servers::Server;
use idem_test_support::within;
use libtest_mimic::Trial;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::shop::{MODES, PlaceError, Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![test("told::each_cause_is_said_once", each_cause_once)]
}

async fn each_cause_once(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idem = process(server.address()).await?;
    let refused = process("postgres://postgres@127.0.0.1:1/postgres").await;
    is_said_once(refused.err(), "Connection refused")?;

    let elsewhere = Postgres::new(server.address())
        .schema("elsewhere")
        .migrate(false);
    let missing = Idem::builder().open_with(elsewhere.ledger()).await;
    is_said_once(missing.err(), "its tables are missing")?;

    let guarded = server.address().replace("postgres@", "guarded:wrong@") + "/postgres";
    ask_for_password(&shop, "guarded", &guarded).await?;
    let wrong = process(&guarded).await;
    is_said_once(wrong.err(), "password authentication failed")?;

    let mut admin = shop.connect().await?;
    sqlx::raw_sql("ALTER TABLE idem.record RENAME TO lost")
        .execute(&mut admin)
        .await?;
    let placed = shop.place(&idem, MODES[0], "A-1").await;
    let Err(PlaceError::Idem(failed)) = placed else {
        anyhow::bail!("{placed:?}");
    };
    is_said_once(Some(failed), "SQLSTATE 42P01")
}

/// Makes a role whose sessions need a password, and waits until its URL, which has another, is refused.
async fn ask_for_password(shop: &Shop, role: &str, url: &str) -> anyhow::Result<()> {
    let mut admin = shop.connect().await?;
    let file: String = sqlx::query_scalar("SELECT current_setting('hba_file')")
        .fetch_one(&mut admin)
        .await?;
    let rules = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'right';
         COPY (VALUES ('host all {role} all scram-sha-256'), ('host all all all trust')) TO '{file}'"
    );
    sqlx::raw_sql(AssertSqlSafe(rules))
        .execute(&mut admin)
        .await?;
    sqlx::raw_sql("SELECT pg_reload_conf()")
        .execute(&mut admin)
        .await?;
    within(async { while PgConnection::connect(url).await.is_ok() {} }).await;
    Ok(())
}

/// Checks the text of an error, as idem and as `anyhow` print it.
fn is_said_once(error: Option<Error>, cause: &str) -> anyhow::Result<()> {
    let error = error.context("no error")?;
    let own = format!("{error:#}");
    ensure!(own.matches(cause).count() == 1, "{own}");
    let chain = anyhow::Error::from(error);
    let printed = format!("{chain:#}");
    ensure!(own == printed, "{own} is not {printed}");
    let parts: Vec<_> = chain.chain().map(ToString::to_string).collect();
    for (at, part) in parts.iter().enumerate() {
        let mut others = parts.iter().enumerate().filter(|(other, _)| *other != at);
        ensure!(!others.any(|(_, other)| other.contains(part)), "{own}");
    }
    Ok(())
}

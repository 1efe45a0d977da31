//! Transactions that PostgreSQL rolls back for others, and locks that others hold.

use std::sync::Arc;

use futures_util::future::join_all;
use idem_runtime::idempotent;
use idem_test_support::servers::Server;
use libtest_mimic::Trial;
use sqlx::{Connection, Executor};

use crate::load::{Load, deliver};
use crate::shop::{LEASE, Mode, PlaceError, Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("contended::bodies_that_wait_for_each_other", deadlocks),
        test("contended::bodies_that_are_serialisable", serialisable),
        test(
            "contended::a_database_that_is_serialisable_by_default",
            by_default,
        ),
        test("contended::a_lock_on_the_ledger_under_load", locked),
    ]
}

/// How many orders of each test run beside each other.
const ORDERS: i64 = 12;

/// Moves one piece of stock from a shelf to the next, in a circle.
#[idempotent(
    name = "shop.move",
    key = "order",
    retries = 200,
    backoff(initial = "5ms", max = "100ms"),
    skip(isolation)
)]
async fn move_stock(order: i64, isolation: &str) -> Result<i64, PlaceError> {
    let mut tx = idem_postgres::transaction().await?;
    let isolation = sqlx::AssertSqlSafe(format!("SET TRANSACTION ISOLATION LEVEL {isolation}"));
    tx.execute(isolation).await?;
    for (shelf, change) in [(order % 3, -1), ((order + 1) % 3, 1)] {
        let changed = sqlx::query("UPDATE stock SET pieces = pieces + $2 WHERE shelf = $1");
        changed.bind(shelf).bind(change).execute(&mut *tx).await?;
    }
    let moved = sqlx::query("INSERT INTO moved VALUES ($1)").bind(order);
    moved.execute(&mut *tx).await?;
    Ok(order)
}

async fn moves(server: &Server, isolation: &'static str) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let tables = "CREATE TABLE stock (shelf bigint, pieces bigint);
        INSERT INTO stock SELECT shelf, 100 FROM generate_series(0, 2) AS shelf;
        CREATE TABLE moved (order_no bigint)";
    let mut connection = shop.connect().await?;
    sqlx::raw_sql(tables).execute(&mut connection).await?;
    let idems = [
        process(server.address()).await?,
        process(server.address()).await?,
    ];
    let orders = (0..2 * ORDERS).map(|number| {
        let (idem, order) = (&idems[usize::from(number % 2 == 0)], number / 2);
        async move {
            let moved = idem.scope(move_stock(order, isolation)).await;
            assert_eq!(moved.unwrap(), order);
        }
    });
    idem_test_support::within(join_all(orders)).await;
    let count =
        "SELECT count(*), count(DISTINCT order_no), (SELECT sum(pieces)::bigint FROM stock),
        (SELECT max(pieces) FROM stock) FROM moved";
    let counted: (i64, i64, i64, i64) = sqlx::query_as(count).fetch_one(&mut connection).await?;
    assert_eq!(counted, (ORDERS, ORDERS, 300, 100), "each piece went round");
    for idem in &idems {
        idem.close().await?;
    }
    shop.judge().await
}

async fn deadlocks(server: Arc<Server>) -> anyhow::Result<()> {
    server.set("deadlock_timeout", "10ms").await?;
    moves(&server, "READ COMMITTED").await
}

async fn serialisable(server: Arc<Server>) -> anyhow::Result<()> {
    moves(&server, "SERIALIZABLE").await
}

/// The ledger's own sessions say what they need, whatever the defaults are.
async fn by_default(server: Arc<Server>) -> anyhow::Result<()> {
    for (setting, value) in [
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"),
        ("synchronous_commit", "off"),
        ("statement_timeout", "60000"),
    ] {
        server.set(setting, value).await?;
    }
    let shop = Shop::open(server.address()).await?;
    let idems = [
        process(server.address()).await?,
        process(server.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    shop.goes_on(150).await;
    load.end().await
}

async fn locked(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    let idems = [
        process(server.address()).await?,
        process(server.address()).await?,
    ];
    let load = Load::start(&shop, &idems);
    for table in ["idem.record", "idem.runner", "idem.number", "idem.clock"] {
        shop.goes_on(30).await;
        let mut connection = shop.connect().await?;
        let mut administrator = connection.begin().await?;
        let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        administrator.execute(sqlx::AssertSqlSafe(lock)).await?;
        // The fault is how long it lasts.
        tokio::time::sleep(LEASE * 3 / 2).await;
        administrator.rollback().await?;
    }
    shop.goes_on(30).await;
    deliver(&shop, &idems[0], Mode::Counted, "Counted-last").await;
    load.end().await
}

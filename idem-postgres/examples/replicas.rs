//! Two replicas of a service on one database: a duplicate at the other replica gets the recorded
//! result, and when one replica dies, the other takes over.
//!
//! ```text
//! $ cargo run -p idem-postgres --example replicas -- postgres://USER@HOST/DATABASE
//! replica 1: placing A-1001, attempt 1
//! replica 1: A-1001 is row 1
//! replica 2: A-1001 is row 1
//! replica 2: placing A-1002, attempt 1
//! replica 2 is dead
//! replica 1: placing A-1002, attempt 2
//! replica 1: A-1002 is row 2
//! rows: 2
//! ```
//!
//! All of it is in the schema `replicas`, which is removed at the end.

use std::env;
use std::process::{Command, abort};
use std::time::Duration;

use anyhow::Context;
use idem_postgres::Postgres;
use idem_runtime::{Idem, attempt, idempotent};
use sqlx::PgPool;

/// The row and the result are one commit, so the row of the replica that dies is rolled back.
#[idempotent(name = "orders.place", key = "order_no", retries = 1, skip(replica))]
async fn place_order(order_no: String, replica: u32) -> anyhow::Result<i64> {
    let attempt = attempt().map_or(1, |attempt| attempt.number);
    println!("replica {replica}: placing {order_no}, attempt {attempt}");
    let mut tx = idem_postgres::transaction().await?;
    sqlx::query("INSERT INTO replicas.orders VALUES ($1)")
        .bind(&order_no)
        .execute(&mut *tx)
        .await?;
    if (replica, &*order_no) == (2, "A-1002") {
        abort();
    }
    let rows = sqlx::query_scalar("SELECT count(*) FROM replicas.orders");
    Ok(rows.fetch_one(&mut *tx).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = env::args().nth(1).or_else(|| env::var("DATABASE_URL").ok());
    let url = url.context("name a database: postgres://USER@HOST/DATABASE, or set DATABASE_URL")?;
    let pool = PgPool::connect(&url).await?;
    // What a replica was doing is taken over when it has been dead for so long.
    let lease = Duration::from_secs(2);
    let postgres = Postgres::new(&url).schema("replicas").lease(lease);
    let idem = Idem::builder().open_with(postgres.ledger()).await?;
    idem.install()?;
    if env::args().nth(2).is_some() {
        place("A-1001", 2).await?;
        return place("A-1002", 2).await;
    }
    let table = sqlx::query("CREATE TABLE replicas.orders (order_no text PRIMARY KEY)");
    table.execute(&pool).await?;
    place("A-1001", 1).await?;
    // A process of its own, as in production.
    Command::new(env::current_exe()?)
        .args([&*url, "second"])
        .status()?;
    println!("replica 2 is dead");
    place("A-1002", 1).await?;

    let rows = sqlx::query_scalar("SELECT count(*) FROM replicas.orders");
    println!(
        "rows: {}",
        rows.fetch_one(&pool).await.map(|rows: i64| rows)?
    );
    idem.close().await?;
    let removed = sqlx::query("DROP SCHEMA replicas CASCADE");
    removed.execute(&pool).await?;
    Ok(())
}

async fn place(order_no: &str, replica: u32) -> anyhow::Result<()> {
    let row = place_order(order_no.into(), replica).await?;
    println!("replica {replica}: {order_no} is row {row}");
    Ok(())
}

//! The same service on PostgreSQL: an order's row and the answer that is recorded are one commit.
//!
//! ```text
//! $ cargo run -p idem-examples --example http_postgres -- postgres://… --listen 127.0.0.1:8080
//! $ curl -i 127.0.0.1:8080/orders -H 'authorization: Bearer ann' -H 'idempotency-key: "A-1"' \
//!     --json '{"sku":"TEA","qty":2}'
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{StatusCode, header::LOCATION};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use idem_http::{Disposition, IdempotencyLayer, OrRelease, Scope};
use idem_postgres::Postgres;
use idem_runtime::Idem;
use serde::Deserialize;
use sqlx::{Connection, PgConnection};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    database: String,
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[derive(Deserialize)]
struct Order {
    sku: String,
    qty: i32,
}

async fn place(OrRelease(Json(order)): OrRelease<Json<Order>>) -> Response {
    let Order { sku, qty } = order;
    if qty == 0 {
        return (
            StatusCode::UNPROCESSABLE_ENTITY,
            "an order has a piece at least",
        )
            .into_response();
    }
    match insert(&sku, qty).await {
        Ok(order_no) => {
            let location = format!("/orders/{order_no}");
            let order = serde_json::json!({ "order_no": order_no, "sku": sku, "qty": qty });
            (StatusCode::CREATED, [(LOCATION, location)], Json(order)).into_response()
        }
        // What the database does not do now, it does later: the row is rolled back, and the attempt
        // is not charged.
        Err(error) => {
            let mut answer = (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response();
            answer.extensions_mut().insert(Disposition::Outage);
            answer
        }
    }
}

/// Nothing looks for an order of a process that died: it was rolled back with it.
async fn insert(sku: &str, qty: i32) -> anyhow::Result<i64> {
    let mut tx = idem_postgres::transaction().await?;
    let insert = "INSERT INTO orders (sku, qty) VALUES ($1, $2) RETURNING order_no";
    let order_no = sqlx::query_scalar(insert).bind(sku).bind(qty);
    Ok(order_no.fetch_one(&mut *tx).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { database, listen } = Args::parse();
    let table = "CREATE TABLE IF NOT EXISTS orders (order_no bigserial, sku text, qty int)";
    let mut connection = PgConnection::connect(&database).await?;
    sqlx::raw_sql(table).execute(&mut connection).await?;
    // What a process was doing passes on when it has been dead for so long.
    let postgres = Postgres::new(&database).lease(Duration::from_secs(2));
    let idem = Idem::builder().open_with(postgres.ledger()).await?;
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .wait(Duration::from_secs(5))
        .build()?;
    let router = Router::new().route("/orders", post(place)).layer(layer);
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, router)
        .with_graceful_shutdown(interrupted)
        .await?;
    Ok(idem.close().await?)
}

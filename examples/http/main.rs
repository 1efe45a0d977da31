//! A service that places orders over HTTP, each `Idempotency-Key` once.
//!
//! ```text
//! $ cargo run --example http -- --data DIR --listen 127.0.0.1:8080
//! $ curl -i 127.0.0.1:8080/orders -H 'authorization: Bearer ann' -H 'idempotency-key: "A-1"' \
//!     --json '{"sku":"TEA","qty":2}'
//! ```
//!
//! The first time, the answer is 201 with the order and its number; each time after that it is the
//! same one, with `idempotency-replayed: true`. Kill the service whenever you like: no order is
//! placed twice.

mod book;
mod orders;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use clap::Parser;
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::Idem;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::book::Book;

#[derive(Parser)]
struct Args {
    /// The folder of the ledger and of the book of orders.
    #[arg(long)]
    data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { data, listen } = Args::parse();
    std::fs::create_dir_all(&data)?;
    let book = Arc::new(Book::open(data.join("orders.jsonl"))?);
    let idem = Idem::open(data.join("ledger"))?;

    // The bearer token is the principal: its hash is part of each key.
    let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
        .wait(Duration::from_secs(5))
        .handler(|handler| handler.timeout(Duration::from_secs(30)))
        .build()?;
    let routes = Router::new()
        .route("/orders", post(orders::place))
        .with_state(book);
    // People can run a dead letter again from the dashboard.
    layer.register(routes.clone());

    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut terminated = signal(SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    axum::serve(listener, routes.layer(layer))
        .with_graceful_shutdown(stopped)
        .await?;
    // Waits for orders whose clients have gone.
    Ok(idem.close().await?)
}

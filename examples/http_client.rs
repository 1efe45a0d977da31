//! A client whose first answer is lost: it asks again under the same key, and has placed one order.
//!
//! ```text
//! $ cargo run -p idem-examples --example http_client
//! 2 TEA: the answer is lost
//! 2 TEA: 201 Created at /orders/1, replayed
//! 1 TEA: 201 Created at /orders/2
//! ```
//!
//! It has the routes of the example `http` in it; with `-- 127.0.0.1:8080` it talks to that.

#[path = "http/book.rs"]
mod book;
#[path = "http/orders.rs"]
mod orders;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{Request, header::LOCATION};
use axum::{Router, routing::post};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use idem_http::client::{IdempotencyKeys, Replayed, Retries};
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::Idem;
use tower::{ServiceBuilder, ServiceExt, retry::RetryLayer, service_fn};

/// Serves the routes of the example `http`, and returns where.
async fn serve(idem: &Idem, folder: &std::path::Path) -> anyhow::Result<String> {
    let layer = IdempotencyLayer::builder(idem, "http.orders", Scope::bearer()).build()?;
    let routes = Router::new()
        .route("/orders", post(orders::place))
        .with_state(Arc::new(book::Book::open(folder.join("orders.jsonl"))?));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?.to_string();
    tokio::spawn(async { axum::serve(listener, routes.layer(layer)).await });
    Ok(at)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path().join("ledger"))?;
    let at = match std::env::args().nth(1) {
        Some(at) => at,
        None => serve(&idem, folder.path()).await?,
    };
    let http = Client::builder(TokioExecutor::new()).build_http();
    let is_first = Arc::new(AtomicBool::new(true));
    let connection = service_fn(move |request: Request<Full<Bytes>>| {
        let (http, is_first) = (http.clone(), Arc::clone(&is_first));
        async move {
            let answer = http.request(request).await?;
            if is_first.swap(false, Ordering::Relaxed) {
                println!("2 TEA: the answer is lost");
                anyhow::bail!("the connection broke");
            }
            Ok(answer.map(Body::new))
        }
    });
    let client = ServiceBuilder::new()
        .layer(IdempotencyKeys::new()) // outside of what sends a request again
        .layer(RetryLayer::new(Retries::new()))
        .service(connection);
    for qty in [2, 1] {
        let order = format!(r#"{{"sku":"TEA","qty":{qty}}}"#);
        let request = Request::post(format!("http://{at}/orders"))
            .header("authorization", "Bearer ann")
            .header("content-type", "application/json");
        let answer = client.clone().oneshot(request.body(order.into())?).await?;
        let replayed = Replayed::from_headers(answer.headers()).map_or("", |_| ", replayed");
        let status = answer.status();
        let location = answer.headers()[LOCATION].to_str()?;
        println!("{qty} TEA: {status} at {location}{replayed}");
    }
    Ok(idem.close().await?)
}

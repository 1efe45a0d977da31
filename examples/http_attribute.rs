//! An annotated handler behind a route: its key is the request's, its errors are answers.
//!
//! ```text
//! $ cargo run -p idem-examples --example http_attribute
//! placing 2 TEA
//! A-1, 2 TEA: 201 Created
//! A-1, 2 TEA: 201 Created
//! A-1, 3 TEA: 422 Unprocessable Entity
//! A-2, 0 TEA: 400 Bad Request
//! ```

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use idem_http::{Answer, IdempotencyKey, Problem};
use idem_runtime::{Idem, idempotent};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    sku: String,
    qty: u32,
}

/// `Answer` can be recorded, and `Problem` says what idem's errors are over HTTP.
#[idempotent(name = "orders.place", key = "key")]
async fn place_order(key: String, order: Order) -> Result<Answer, Problem> {
    if order.qty == 0 {
        // The client's error is a result, and no letter.
        return Ok(Answer::text(StatusCode::BAD_REQUEST, "no pieces"));
    }
    println!("placing {} {}", order.qty, order.sku);
    Ok(Answer::json(StatusCode::CREATED, &order)?)
}

/// Where keys are of many principals, the principal is a part of the key, too.
async fn orders(key: IdempotencyKey, Json(order): Json<Order>) -> Result<Answer, Problem> {
    place_order(key.to_string(), order).await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path())?;
    idem.install()?;
    let router = Router::new().route("/orders", post(orders));
    for (key, qty) in [("A-1", 2), ("A-1", 2), ("A-1", 3), ("A-2", 0)] {
        let request = Request::post("/orders")
            .header("content-type", "application/json")
            .header("idempotency-key", format!("\"{key}\""))
            .body(Body::from(format!(r#"{{"sku":"TEA","qty":{qty}}}"#)))?;
        let answer = router.clone().oneshot(request).await?;
        println!("{key}, {qty} TEA: {}", answer.status());
    }
    idem.close().await?;
    Ok(())
}
